// A block of pairs small enough for the cache: geometry, filters, coefficients, and the way back.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

#include "attention.h"
#include "harmonics.h"
#include "products.h"
#include "simd.h"

namespace so3krates {
namespace SO3K_VARIANT {

constexpr int kBlock = 24;  // pairs; a multiple of every number of lanes but 16, see `kRoom`
constexpr int64_t kNearMemory = 1 << 19;  // bytes of the rows of all atoms that a second cache keeps
constexpr int kRoom = 32;   // rows of arrays that are filled a register of pairs at a time

// Memory aligned to cache lines that is released with its owner.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count)
      : data_(static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64))) {
    if (data_ == nullptr) throw std::bad_alloc();
    std::memset(static_cast<void*>(data_), 0, count * sizeof(T));
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator T*() const { return data_; }

 private:
  T* data_;
};

// A chunk of columns, or a piece of one where it is long: `vectors` registers from column `start` on.
struct Run {
  int64_t start;
  int vectors, chunk;
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
  const Inputs<T>& in;
  const int chunks;  // heads, then degrees
  int top = 0;
  Norms norms;

  int count = 0;
  int64_t pair[kRoom];
  int64_t center[kRoom], other[kRoom];
  int64_t knot[kRoom];
  alignas(64) T x[kRoom], y[kRoom], z[kRoom];  // unit vectors
  alignas(64) T inverse[kRoom];                // 1/r
  alignas(64) T phi[kRoom], phi_slope[kRoom];
  alignas(64) T position[kRoom];               // between two knots, 0 to 1
  alignas(64) T stretch[kRoom];                // of that position with r

  Buffer<T> harmonic;      // kRoom, padded_orders
  Buffer<T> difference;    // x_j − x_i: kRoom, padded_orders
  Buffer<T> invariant;     // kRoom, kMaxDegrees
  Buffer<T> hidden;        // kRoom, 2 padded_hidden
  Buffer<T> hidden_slope;  // of SiLU
  Buffer<T> filter;        // kRoom, columns
  Buffer<T> overlap;       // Σ q k w of both directions without scale and cutoff: kRoom, 2, chunks
  Buffer<T> weight;        // attention coefficients: kRoom, 2, chunks
  Buffer<T> of_degree;     // kMaxDegrees, padded_orders: 1 where an order is of that degree
  Buffer<T> parity;        // kMaxDegrees, padded_orders: (−1)^l there
  Buffer<T> scale;         // 1/c of eq. 21: 2, chunks
  Buffer<T> contraction;   // 1/√(2l+1): kMaxDegrees

  Buffer<Run> runs;  // those of f, then those of x; never more than one for every register of columns
  int runs_f = 0, runs_all = 0;

  Block(const Shape& shape, const Inputs<T>& inputs)
      : s(shape),
        in(inputs),
        chunks(static_cast<int>(shape.heads) + shape.degrees_count),
        harmonic(kRoom * shape.padded_orders),
        difference(kRoom * shape.padded_orders),
        invariant(kRoom * kMaxDegrees),
        hidden(kRoom * 2 * shape.padded_hidden),
        hidden_slope(kRoom * 2 * shape.padded_hidden),
        filter(kRoom * shape.columns),
        overlap(kRoom * 2 * chunks),
        weight(kRoom * 2 * chunks),
        of_degree(kMaxDegrees * shape.padded_orders),
        parity(kMaxDegrees * shape.padded_orders),
        scale(2 * chunks),
        contraction(kMaxDegrees),
        runs(shape.columns / lanes) {
    for (int c = 0; c < 2 * chunks; ++c) scale[c] = static_cast<T>(c % chunks < s.heads ? s.scale_f : s.scale_x);
    int64_t column = 0;
    for (int d = 0; d < s.degrees_count; ++d) {
      const int l = s.degrees[d];
      if (l > top) top = l;
      contraction[d] = static_cast<T>(1 / __builtin_sqrt(2.0 * l + 1));
      for (int m = -l; m <= l; ++m, ++column) {
        of_degree[d * s.padded_orders + column] = 1;
        parity[d * s.padded_orders + column] = l % 2 ? -1 : 1;
      }
    }
    for (int c = 0; c < s.heads; ++c) add_runs(c * s.padded_head, s.padded_head, c);
    runs_f = runs_all;
    for (int d = 0; d < s.degrees_count; ++d)
      add_runs(s.columns_f + d * s.padded_chunk, s.padded_chunk, static_cast<int>(s.heads) + d);
  }

  void add_runs(int64_t start, int64_t width, int chunk) {
    int64_t vectors = width / lanes;
    const int64_t pieces = (vectors + kRunVectors - 1) / kRunVectors;
    const int64_t longest = (vectors + pieces - 1) / pieces;
    while (vectors > 0) {
      const int64_t now = longest < vectors ? longest : vectors;
      runs[runs_all++] = {start, static_cast<int>(now), chunk};
      start += now * lanes;
      vectors -= now;
    }
  }

  // --- Rows of atoms ---

  const T* query(const T* rows, int64_t atom) const { return rows + atom * s.row; }
  const T* key(const T* rows, int64_t atom) const { return rows + atom * s.row + s.columns; }
  const T* value(const T* rows, int64_t atom) const { return rows + atom * s.row + 2 * s.columns; }
  const T* euclidean(const T* rows, int64_t atom) const { return rows + atom * s.row + s.row - s.padded_orders; }

  // --- Gathering ---

  // The next pairs within the cutoff, from `next` up to `last`; false if there are none. Rows of the atoms that come
  // after these are asked for: `rows` and `sums`, that are `sum_width` long.
  bool fill(int64_t& next, int64_t last, const T* rows, const T* sums, int64_t sum_width) {
    count = 0;
    const T reach = static_cast<T>(s.cutoff * s.cutoff);
    for (; next < last && count < kBlock; ++next) {
      if (!in.mask[next]) continue;
      const T* v = in.vectors + 3 * next;
      const T squared = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
      if (!(squared < reach)) continue;
      pair[count] = next;
      center[count] = in.centers[next];
      other[count] = in.others[next];
      x[count] = v[0];
      y[count] = v[1];
      z[count] = v[2];
      inverse[count] = squared;
      ++count;
    }
    const bool scattered = s.atoms * s.row * static_cast<int64_t>(sizeof(T)) > kNearMemory;
    for (int64_t ahead = next; scattered && ahead < last && ahead < next + kBlock; ++ahead) {
      fetch(rows + in.others[ahead] * s.row, s.row);
      fetch(sums + in.others[ahead] * sum_width, sum_width);
    }
    // What fills the last register: harmless numbers that are never used.
    for (int n = count; n < kRoom; ++n) {
      x[n] = y[n] = 0;
      z[n] = inverse[n] = 1;
    }
    return count > 0;
  }

  void place() {
    const T bend = static_cast<T>(s.bend);
    const T per_knot = static_cast<T>(s.intervals * (s.cutoff + s.bend) / s.cutoff);
    for (int n = 0; n < count; n += lanes) {
      Vec<T> r;
      for (int lane = 0; lane < lanes; ++lane) r[lane] = __builtin_sqrt(inverse[n + lane]);
      const Vec<T> inverted = static_cast<T>(1) / r;
      store(inverse + n, inverted);
      store(x + n, load(x + n) * inverted);
      store(y + n, load(y + n) * inverted);
      store(z + n, load(z + n) * inverted);
      const Vec<T> share = bend / (r + bend);
      store(position + n, (r / (r + bend)) * per_knot);
      store(stretch + n, share * share / bend * per_knot);
    }
    for (int n = 0; n < count; ++n) {
      int64_t k = static_cast<int64_t>(position[n]);
      if (k > s.intervals - 1) k = s.intervals - 1;
      knot[n] = k;
      fetch(in.radial + 2 * k * s.columns, 4 * s.columns);
      position[n] -= static_cast<T>(k);
      const T t = position[n];
      const T* table = in.cutoff + 2 * k;
      const T a = table[0], p = table[1], b = table[2], q = table[3];
      const T c2 = 3 * (b - a) - 2 * p - q, c3 = 2 * (a - b) + p + q;
      phi[n] = a + t * (p + t * (c2 + t * c3));
      phi_slope[n] = (p + t * (2 * c2 + 3 * t * c3)) * stretch[n];
    }
  }

  // Asks for memory ahead of its use: rows of the table follow no pattern that a processor could foresee.
  static SO3K_INLINE void fetch(const T* from, int64_t count) {
    for (int64_t n = 0; n < count; n += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(from + n, 0, 2);
  }

  void make_harmonics() {
    for (int n = 0; n < count; n += lanes)
      harmonics<T>(s, norms, top, load(x + n), load(y + n), load(z + n), harmonic + n * s.padded_orders,
                   s.padded_orders);
  }

  // --- Filters ---

  void make_filters(const T* rows, bool slopes) {
    interpolate();
    if (!s.has_x) return;
    make_invariants(rows);
    make_hidden(slopes);
    product<T>(hidden, 2 * s.padded_hidden, count, {1, s.hidden, 0}, in.outer, s.columns, s.columns_f, filter, s.columns, true);
    product<T>(hidden + s.padded_hidden, 2 * s.padded_hidden, count, {1, s.hidden, 0}, in.outer + s.columns_f,
               s.columns, s.columns_x, filter + s.columns_f, s.columns, true);
  }

  void interpolate() {
    for (int n = 0; n < count; ++n) {
      const T t = position[n], t2 = t * t, t3 = t2 * t;
      const T h00 = 1 - 3 * t2 + 2 * t3, h10 = t - 2 * t2 + t3, h01 = 3 * t2 - 2 * t3, h11 = t3 - t2;
      const T* table = in.radial + knot[n] * 2 * s.columns;
      T* out = filter + n * s.columns;
      for (int64_t c = 0; c < s.columns; c += lanes)
        store(out + c, h00 * load(table + c) + h10 * load(table + s.columns + c) +
                           h01 * load(table + 2 * s.columns + c) + h11 * load(table + 3 * s.columns + c));
    }
  }

  void make_invariants(const T* rows) {
    const int64_t width = s.padded_orders;
    for (int n = 0; n < count; ++n) {
      const T *own = euclidean(rows, center[n]), *far = euclidean(rows, other[n]);
      T* d = difference + n * width;
      for (int64_t c = 0; c < width; c += lanes) store(d + c, load(far + c) - load(own + c));
      for (int l = 0; l < s.degrees_count; ++l) {
        Vec<T> squares{};
        for (int64_t c = 0; c < width; c += lanes) squares += load(d + c) * load(d + c) * load(of_degree + l * width + c);
        invariant[n * kMaxDegrees + l] = sum<T>(squares) * contraction[l];
      }
    }
  }

  void make_hidden(bool slopes) {
    const int64_t width = 2 * s.padded_hidden;
    const T* bias = in.inner + s.degrees_count * width;
    for (int n = 0; n < count; ++n) {
      const T* own = invariant + n * kMaxDegrees;
      for (int64_t c = 0; c < width; c += lanes) {
        Vec<T> u = load(bias + c);
        for (int l = 0; l < s.degrees_count; ++l) u += own[l] * load(in.inner + l * width + c);
        const Vec<T> gate = static_cast<T>(1) / (static_cast<T>(1) + exponential<T>(-u));
        store(hidden + n * width + c, u * gate);
        if (slopes) store(hidden_slope + n * width + c, gate * (static_cast<T>(1) + u * (static_cast<T>(1) - gate)));
      }
    }
  }

  // --- Attention ---

  // First pair after those that share the center of pair `from`.
  int group_end(int from) const {
    int to = from + 1;
    while (to < count && center[to] == center[from]) ++to;
    return to;
  }

  // Σ over each chunk of q_i k_j w and q_j k_i w.
  void make_overlaps(const T* rows) {
    std::memset(overlap, 0, sizeof(T) * count * 2 * chunks);
    for (int from = 0, to; from < count; from = to) {
      to = group_end(from);
      const T *q_i = query(rows, center[from]), *k_i = key(rows, center[from]);
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
            const T* q_j = query(rows, other[n]) + run.start;
            const T* k_j = key(rows, other[n]) + run.start;
            const T* w = filter + n * s.columns + run.start;
            Vec<T> to_center{}, to_other{};
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) {
              const Vec<T> own = load(w + v * lanes);
              to_center += (q[v] * own) * load(k_j + v * lanes);
              to_other += (k[v] * own) * load(q_j + v * lanes);
            }
            overlap[n * 2 * chunks + run.chunk] += sum<T>(to_center);
            overlap[n * 2 * chunks + chunks + run.chunk] += sum<T>(to_other);
          }
        });
      }
    }
  }

  void make_weights() {
    for (int n = 0; n < count; ++n) {
      const T *own = overlap + n * 2 * chunks;
      T* result = weight + n * 2 * chunks;
      for (int c = 0; c < 2 * chunks; ++c) result[c] = own[c] * phi[n] * scale[c];
    }
  }

  // Σ_l weight_l · 1 at the orders of l (with the parity of l), for one register of orders.
  SO3K_INLINE Vec<T> at_orders(const T* weights, const T* table, int64_t column) const {
    Vec<T> result{};
    for (int l = 0; l < s.degrees_count; ++l) result += weights[l] * load(table + l * s.padded_orders + column);
    return result;
  }

  // Adds the messages of these pairs to the sums, rows of columns_f + padded_orders.
  void send(const T* rows, T* sums) {
    const int64_t width = s.columns_f + s.padded_orders;
    for (int from = 0, to; from < count; from = to) {
      to = group_end(from);
      const T* v_i = value(rows, center[from]);
      T* sum_i = sums + center[from] * width;
      for (int r = 0; r < runs_f; ++r) {
        const Run run = runs[r];
        with_vectors(run.vectors, [&](auto number) {
          constexpr int N = decltype(number)::value;
          Vec<T> own[N], received[N]{};
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) own[v] = load(v_i + run.start + v * lanes);
          for (int n = from; n < to; ++n) {
            const T* v_j = value(rows, other[n]) + run.start;
            T* sum_j = sums + other[n] * width + run.start;
            const T to_center = weight[n * 2 * chunks + run.chunk];
            const T to_other = weight[n * 2 * chunks + chunks + run.chunk];
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
      for (int n = from; n < to; ++n) {
        const T* own = weight + n * 2 * chunks + s.heads;
        T* sum_j = sums + other[n] * width + s.columns_f;
        for (int64_t c = 0; c < s.padded_orders; c += lanes) {
          const Vec<T> value = load(harmonic + n * s.padded_orders + c);
          T* mine = sum_i + s.columns_f + c;
          store(mine, load(mine) + value * at_orders(own, of_degree, c));
          store(sum_j + c, load(sum_j + c) + value * at_orders(own + chunks, parity, c));
        }
      }
    }
  }
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
