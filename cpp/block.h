// A block of pairs small enough for the cache: filters, coefficients and messages.
#pragma once

#include <type_traits>

#include "geometry.h"
#include "memory.h"
#include "network.h"
#include "orders.h"
#include "products.h"
#include "simd.h"

namespace so3krates {
namespace SO3K_VARIANT {

constexpr int kBlock = 24;                // pairs; a multiple of the rows of most tiles
constexpr int64_t kNearMemory = 1 << 19;  // bytes of the rows of all atoms that a second cache keeps

// The columns of a chunk, or a piece of them where they are many: `vectors` registers from column `start` on.
struct Run {
  int64_t start;
  int vectors, chunk;
  bool first;  // of its chunk
};

constexpr int kRunVectors = 6;

// Calls `body` with a constant for a number that is known only when the program runs.
template <class Body>
SO3K_INLINE void with_vectors(int vectors, const Body& body) {
  switch (vectors) {
    case 1: body(std::integral_constant<int, 1>()); break;
    case 2: body(std::integral_constant<int, 2>()); break;
    case 3: body(std::integral_constant<int, 3>()); break;
    case 4: body(std::integral_constant<int, 4>()); break;
    case 5: body(std::integral_constant<int, 5>()); break;
    default: body(std::integral_constant<int, 6>()); break;
  }
}

template <class T>
struct Block {
  static constexpr int lanes = Simd<T>::lanes;
  const Shape& s;
  const Inputs<T> in;  // of this layer
  const Saved<T>& saved;
  const T* rows;
  const bool has_x;
  const Orders<T> orders;

  // The pairs of this block; arrays start with the first of them.
  int count = 0;
  const int32_t *center, *other, *knot;
  const T *position, *stretch, *phi, *phi_slope, *harmonic;
  T* score;

  Buffer<T> difference;    // x_j − x_i: kBlock, padded_orders
  Buffer<T> invariant;     // kBlock, kMaxDegrees + lanes
  Buffer<T> hidden;        // kBlock, hidden_row
  Buffer<T> hidden_slope;  // of SiLU
  Buffer<T> filter;        // kBlock, columns
  Buffer<T> weight;        // attention coefficients: kBlock, scores
  Zeros<Vec<T>> spread;    // sums in the making: kBlock, scores

  Buffer<Run> runs;  // those of f, then those of x; never more than one for every register of columns
  int runs_f = 0, runs_all = 0;

  static constexpr int64_t invariants_width = kMaxDegrees + lanes;

  Block(const Call<T>& call, int64_t layer)
      : s(call.s),
        in(call.in.of_layer(s, layer)),
        saved(call.saved),
        rows(saved.rows + layer * s.atoms * s.row),
        has_x(layer > 0 || !s.starts_at_zero),
        orders(call),
        difference(kBlock * s.padded_orders),
        invariant(kBlock * invariants_width),
        hidden(kBlock * s.hidden_row),
        hidden_slope(kBlock * s.hidden_row),
        filter(kBlock * s.columns),
        weight(kBlock * s.scores),
        spread(kBlock * s.scores),
        runs(s.columns / lanes) {
    for (int c = 0; c < s.f.chunks; ++c) add_runs(s.f.at(c), s.f.padded_width, c);
    runs_f = runs_all;
    for (int c = 0; c < s.x.chunks; ++c) add_runs(s.x.at(c), s.x.padded_width, static_cast<int>(s.f.chunks) + c);
  }

  void add_runs(int64_t start, int64_t width, int chunk) {
    int64_t vectors = width / lanes;
    const int64_t pieces = (vectors + kRunVectors - 1) / kRunVectors;
    const int64_t longest = (vectors + pieces - 1) / pieces;
    for (bool first = true; vectors > 0; first = false) {
      const int64_t now = longest < vectors ? longest : vectors;
      runs[runs_all++] = {start, static_cast<int>(now), chunk, first};
      start += now * lanes;
      vectors -= now;
    }
  }

  // --- Rows of atoms ---

  const T* query(int64_t atom) const { return rows + atom * s.row; }
  const T* key(int64_t atom) const { return rows + atom * s.row + s.columns; }
  const T* value(int64_t atom) const { return rows + atom * s.row + 2 * s.columns; }
  const T* euclidean(int64_t atom) const { return rows + atom * s.row + s.row - s.padded_orders; }

  // --- Which pairs ---

  // The pairs of a part from number `start` on, as many as a block holds. Rows of the atoms that come after them are
  // asked for: those of this layer and `sums`, that are `sum_width` long.
  void choose(const Part& part, int64_t start, int64_t layer, const T* sums, int64_t sum_width) {
    count = static_cast<int>(part.count - start < kBlock ? part.count - start : kBlock);
    const int64_t at = part.first + start;
    center = saved.center + at;
    other = saved.other + at;
    knot = saved.knot + at;
    position = saved.position + at;
    stretch = saved.stretch + at;
    phi = saved.phi + at;
    phi_slope = saved.phi_slope + at;
    harmonic = saved.harmonics + at * s.padded_orders;
    score = saved.scores + (layer * s.all_pairs + at) * s.scores;
    if (s.atoms * s.row * static_cast<int64_t>(sizeof(T)) <= kNearMemory) return;
    const int64_t ahead = part.count - start - count < kBlock ? part.count - start - count : kBlock;
    for (int64_t n = count; n < count + ahead; ++n) {
      fetch(rows + other[n] * s.row, s.row);
      fetch(sums + other[n] * sum_width, sum_width);
    }
  }

  // First pair after those that share the center of pair `from`.
  int group_end(int from) const {
    int to = from + 1;
    while (to < count && center[to] == center[from]) ++to;
    return to;
  }

  // --- Filters ---

  void make_filters(bool slopes) {
    interpolate();
    if (!has_x) return;
    make_invariants();
    make_hidden(slopes);
    const Inner inner{1, s.hidden, 0};
    product<T>(hidden, s.hidden_row, count, inner, in.outer, s.columns, s.f.columns, filter, s.columns, true);
    product<T>(hidden + s.hidden, s.hidden_row, count, inner, in.outer + s.x.start, s.columns, s.x.columns,
               filter + s.x.start, s.columns, true);
  }

  void interpolate() {
    for (int n = 0; n < count; ++n) {
      const Hermite<T> between = Hermite<T>::values(position[n], stretch[n]);
      const T* table = in.radial + 2 * knot[n] * s.columns;
      T* out = filter + n * s.columns;
      for (int64_t c = 0; c < s.columns; c += lanes) store(out + c, between.at(table + c, s.columns));
    }
  }

  void make_invariants() {
    const int64_t width = s.padded_orders;
    for (int n = 0; n < count; ++n) {
      const T *own = euclidean(center[n]), *far = euclidean(other[n]);
      T* d = difference + n * width;
      for (int64_t c = 0; c < width; c += lanes) store(d + c, load(far + c) - load(own + c));
      T* result = invariant + n * invariants_width;
      orders.gathered(d, d, result);
      for (int l = 0; l < s.degrees_count; ++l) result[l] *= orders.contraction[l];
    }
  }

  void make_hidden(bool slopes) {
    const int64_t width = s.hidden_row;
    const T* bias = in.inner + s.degrees_count * width;
    for (int n = 0; n < count; ++n) {
      const T* own = invariant + n * invariants_width;
      for (int64_t c = 0; c < width; c += lanes) {
        Vec<T> u = load(bias + c);
        for (int l = 0; l < s.degrees_count; ++l) u += own[l] * load(in.inner + l * width + c);
        const Vec<T> gate = sigmoid<T>(u);
        store(hidden + n * width + c, u * gate);
        if (slopes) store(hidden_slope + n * width + c, gate * (static_cast<T>(1) + u * (static_cast<T>(1) - gate)));
      }
    }
  }

  // --- Attention ---

  // 1/c φ⁻¹ α: the sums over each chunk of q_i k_j w and of q_j k_i w.
  void make_scores() {
    for (int from = 0, to; from < count; from = to) {
      to = group_end(from);
      const T *q_i = query(center[from]), *k_i = key(center[from]);
      for (int r = 0; r < runs_all; ++r) {
        const Run run = runs[r];
        with_vectors(run.vectors, [&](auto number) {
          constexpr int N = decltype(number)::value;
          Vec<T> q[N], k[N];
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) {
            q[v] = load(q_i + run.start + v * lanes);
            k[v] = load(k_i + run.start + v * lanes);
          }
          for (int n = from; n < to; ++n) {
            const T* q_j = query(other[n]) + run.start;
            const T* k_j = key(other[n]) + run.start;
            const T* w = filter + n * s.columns + run.start;
            Vec<T>* place = spread + n * s.scores + run.chunk;
            Vec<T> to_center = run.first ? Vec<T>{} : place[0], to_other = run.first ? Vec<T>{} : place[s.chunks];
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) {
              const Vec<T> own = load(w + v * lanes);
              to_center += (q[v] * own) * load(k_j + v * lanes);
              to_other += (k[v] * own) * load(q_j + v * lanes);
            }
            place[0] = to_center;
            place[s.chunks] = to_other;
          }
        });
      }
    }
    for (int n = 0; n < count; ++n) {
      T* result = score + n * s.scores;
      for (int64_t c = 0; c < s.scores; c += lanes) store(result + c, each_sum<T>(spread + n * s.scores + c));
      for (int64_t c = 0; c < s.heads; ++c) {
        result[c] *= static_cast<T>(s.scale_f);
        result[s.chunks + c] *= static_cast<T>(s.scale_f);
      }
      for (int64_t c = s.heads; c < s.chunks; ++c) {
        result[c] *= static_cast<T>(s.scale_x);
        result[s.chunks + c] *= static_cast<T>(s.scale_x);
      }
    }
  }

  void make_weights() {
    for (int n = 0; n < count; ++n)
      for (int64_t c = 0; c < s.scores; c += lanes)
        store(weight + n * s.scores + c, phi[n] * load(score + n * s.scores + c));
  }

  // Adds the messages of these pairs to the sums.
  void send(T* sums) {
    for (int from = 0, to; from < count; from = to) {
      to = group_end(from);
      const T* v_i = value(center[from]);
      T* sum_i = sums + center[from] * s.message;
      for (int r = 0; r < runs_f; ++r) {
        const Run run = runs[r];
        with_vectors(run.vectors, [&](auto number) {
          constexpr int N = decltype(number)::value;
          Vec<T> own[N], received[N]{};
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) own[v] = load(v_i + run.start + v * lanes);
          for (int n = from; n < to; ++n) {
            const T* v_j = value(other[n]) + run.start;
            T* sum_j = sums + other[n] * s.message + run.start;
            const T to_center = weight[n * s.scores + run.chunk];
            const T to_other = weight[n * s.scores + s.chunks + run.chunk];
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) {
              received[v] += to_center * load(v_j + v * lanes);
              store(sum_j + v * lanes, load(sum_j + v * lanes) + to_other * own[v]);
            }
          }
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) {
            T* place = sum_i + run.start + v * lanes;
            store(place, load(place) + received[v]);
          }
        });
      }
      for (int n = from; n < to; ++n)
        send_orders(s, orders, harmonic + n * s.padded_orders, weight + n * s.scores, sum_i,
                    sums + other[n] * s.message);
    }
  }
};

// Adds the messages Y β of one pair to rows of two atoms.
template <class T>
SO3K_INLINE void send_orders(const Shape& s, const Orders<T>& orders, const T* harmonic, const T* weight, T* sum_i,
                             T* sum_j) {
  const T *to_center = weight + s.heads, *to_other = to_center + s.chunks;
  const int64_t start = s.message - s.padded_orders;
  for (int64_t c = 0; c < s.padded_orders; c += Simd<T>::lanes) {
    const Vec<T> value = load(harmonic + c);
    T *mine = sum_i + start + c, *theirs = sum_j + start + c;
    store(mine, load(mine) + value * orders.spread(to_center, orders.of_degree, c));
    store(theirs, load(theirs) + value * orders.spread(to_other, orders.parity, c));
  }
}

}  // namespace SO3K_VARIANT
}  // namespace so3krates
