// The transpose of a block of pairs: from cotangents of the messages to those of queries, keys, values, x and geometry.
#pragma once

#include "block.h"

namespace so3krates {
namespace SO3K_VARIANT {

// Cotangents of one pair's harmonics, added, and of its coefficients of x.
template <class T>
SO3K_INLINE void receive_orders(const Shape& s, const Orders<T>& orders, const T* harmonic, const T* weight,
                                const T* received_i, const T* received_j, T* harmonic_back, T* coefficient) {
  const int64_t start = s.message - s.padded_orders;
  const T *h_i = received_i + start, *h_j = received_j + start;
  const T *to_center = weight + s.heads, *to_other = to_center + s.chunks;
  for (int64_t c = 0; c < s.padded_orders; c += Simd<T>::lanes)
    store(harmonic_back + c, load(harmonic_back + c) + load(h_i + c) * orders.spread(to_center, orders.of_degree, c) +
                                 load(h_j + c) * orders.spread(to_other, orders.parity, c));
  T found[2 * kMaxDegrees + Simd<T>::lanes];
  orders.gathered(h_i, h_j, harmonic, found);
  for (int l = 0; l < s.degrees_count; ++l) {
    coefficient[s.heads + l] = found[l];
    coefficient[s.chunks + s.heads + l] = found[s.degrees_count + l];
  }
}

// In the first layer nobody asks for cotangents of the features.
template <class T, bool First>
struct BlockBack {
  static constexpr int lanes = Simd<T>::lanes;
  Block<T> b;
  const Shape& s;
  const Call<T>& call;
  T* sums;                // of this part: atoms, row
  T *harmonic, *radial;   // cotangents of the pairs of this block
  Buffer<T> coefficient;  // cotangents of the coefficients, then times cutoff and scale: kBlock, scores and room
  Zeros<Vec<T>> spread;   // sums in the making: kBlock, both
  Zeros<T> hidden;        // kBlock, hidden + padded_hidden and room: cotangents
  Zeros<T> scale;         // 1/c of eq. 21: scores
  const int64_t wide;     // row of `coefficient`
  const int64_t both;     // heads of both directions, padded

  BlockBack(const Call<T>& call_, int64_t layer, int64_t part)
      : b(call_, layer),
        s(call_.s),
        call(call_),
        sums(call.scratch.sums + part * s.atoms * s.row),
        coefficient(kBlock * (s.scores + kMaxDegrees + lanes)),
        spread(kBlock * padded(2 * s.heads, lanes)),
        hidden(kBlock * (s.hidden + s.padded_hidden + lanes)),
        scale(s.scores),
        wide(s.scores + kMaxDegrees + lanes),
        both(padded(2 * s.heads, lanes)) {
    for (int64_t c = 0; c < 2 * s.chunks; ++c)
      scale[c] = static_cast<T>(c % s.chunks < s.heads ? s.scale_f : s.scale_x);
  }

  T* query(int64_t atom) { return sums + atom * s.row; }
  T* key(int64_t atom) { return sums + atom * s.row + s.columns; }
  T* value(int64_t atom) { return sums + atom * s.row + 2 * s.columns; }
  T* euclidean(int64_t atom) { return sums + (atom + 1) * s.row - s.padded_orders; }
  const T* received(int64_t atom) const { return call.scratch.received + atom * s.message; }

  void run(const Part& part, int64_t layer) {
    for (int64_t start = 0; start < part.count; start += kBlock) {
      b.choose(part, start, layer, sums, s.row);
      harmonic = call.scratch.harmonics + (part.first + start) * s.padded_orders;
      radial = call.scratch.radial + part.first + start;
      b.make_filters(true);
      b.make_weights();
      values();
      for (int n = 0; n < b.count; ++n)
        receive_orders(s, b.orders, b.harmonic + n * s.padded_orders, b.weight + n * s.scores, received(b.center[n]),
                       received(b.other[n]), harmonic + n * s.padded_orders, coefficient + n * wide);
      products();
      radii();
      if (b.has_x) invariants();
    }
  }

  // Cotangents of the values, and of the coefficients of f.
  void values() {
    for (int from = 0, to; from < b.count; from = to) {
      to = b.group_end(from);
      const int64_t i = b.center[from];
      for (int r = 0; r < b.runs_f; ++r) {
        const Run run = b.runs[r];
        with_vectors(run.vectors, [&](auto number) {
          constexpr int N = decltype(number)::value;
          const T *v_i = b.value(i) + run.start, *g_i = received(i) + run.start;
          Vec<T> own[N], got[N], back[N]{};
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) {
            own[v] = load(v_i + v * lanes);
            got[v] = load(g_i + v * lanes);
          }
          for (int n = from; n < to; ++n) {
            const int64_t j = b.other[n];
            const T *v_j = b.value(j) + run.start, *g_j = received(j) + run.start;
            T* back_j = value(j) + run.start;
            const T to_center = b.weight[n * s.scores + run.chunk];
            const T to_other = b.weight[n * s.scores + s.chunks + run.chunk];
            Vec<T>* place = spread + n * both + run.chunk;
            Vec<T> of_center = run.first ? Vec<T>{} : place[0], of_other = run.first ? Vec<T>{} : place[s.heads];
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) {
              const Vec<T> g = load(g_j + v * lanes);
              of_center += got[v] * load(v_j + v * lanes);
              of_other += own[v] * g;
              if constexpr (!First) {
                back[v] += to_other * g;
                store(back_j + v * lanes, load(back_j + v * lanes) + to_center * got[v]);
              }
            }
            place[0] = of_center;
            place[s.heads] = of_other;
          }
          if constexpr (!First) {
            T* back_i = value(i) + run.start;
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) store(back_i + v * lanes, load(back_i + v * lanes) + back[v]);
          }
        });
      }
    }
    for (int n = 0; n < b.count; ++n) {
      T found[2 * kRoom];
      for (int64_t c = 0; c < both; c += lanes) store(found + c, each_sum<T>(spread + n * both + c));
      T* own = coefficient + n * wide;
      for (int64_t c = 0; c < s.heads; ++c) {
        own[c] = found[c];
        own[s.chunks + c] = found[s.heads + c];
      }
    }
  }

  // From the coefficients to queries, keys and filters; the filters' cotangents replace the filters.
  void products() {
    for (int n = 0; n < b.count; ++n) {
      T* own = coefficient + n * wide;
      for (int64_t c = 2 * s.chunks; c < s.scores; ++c) own[c] = 0;
      Vec<T> of_cutoff{};
      for (int64_t c = 0; c < s.scores; c += lanes) {
        of_cutoff += load(own + c) * load(b.score + n * s.scores + c);
        store(own + c, load(own + c) * load(scale + c) * b.phi[n]);
      }
      radial[n] += sum<T>(of_cutoff) * b.phi_slope[n];
    }
    for (int from = 0, to; from < b.count; from = to) {
      to = b.group_end(from);
      const int64_t i = b.center[from];
      for (int r = 0; r < b.runs_all; ++r) {
        const Run run = b.runs[r];
        with_vectors(run.vectors, [&](auto number) {
          constexpr int N = decltype(number)::value;
          const T *q_i = b.query(i) + run.start, *k_i = b.key(i) + run.start;
          Vec<T> q[N], k[N], q_back[N]{}, k_back[N]{};
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) {
            q[v] = load(q_i + v * lanes);
            k[v] = load(k_i + v * lanes);
          }
          for (int n = from; n < to; ++n) {
            const int64_t j = b.other[n];
            const T *q_j = b.query(j) + run.start, *k_j = b.key(j) + run.start;
            T *q_back_j = query(j) + run.start, *k_back_j = key(j) + run.start;
            T* w = b.filter + n * s.columns + run.start;
            const T to_center = coefficient[n * wide + run.chunk];
            const T to_other = coefficient[n * wide + s.chunks + run.chunk];
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) {
              const Vec<T> kj = load(k_j + v * lanes), qj = load(q_j + v * lanes);
              if constexpr (!First) {
                const Vec<T> own = load(w + v * lanes);
                const Vec<T> first = to_center * own, second = to_other * own;
                q_back[v] += first * kj;
                k_back[v] += second * qj;
                store(k_back_j + v * lanes, load(k_back_j + v * lanes) + first * q[v]);
                store(q_back_j + v * lanes, load(q_back_j + v * lanes) + second * k[v]);
              }
              store(w + v * lanes, to_center * (q[v] * kj) + to_other * (k[v] * qj));
            }
          }
          if constexpr (!First) {
            T *q_back_i = query(i) + run.start, *k_back_i = key(i) + run.start;
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) {
              store(q_back_i + v * lanes, load(q_back_i + v * lanes) + q_back[v]);
              store(k_back_i + v * lanes, load(k_back_i + v * lanes) + k_back[v]);
            }
          }
        });
      }
    }
  }

  // ∂E/∂r through the filters' tables.
  void radii() {
    for (int n = 0; n < b.count; ++n) {
      const Hermite<T> between = Hermite<T>::slopes(b.position[n], b.stretch[n]);
      const T* table = b.in.radial + 2 * b.knot[n] * s.columns;
      const T* w = b.filter + n * s.columns;
      Vec<T> total{};
      for (int64_t c = 0; c < s.columns; c += lanes) total += load(w + c) * between.at(table + c, s.columns);
      radial[n] += sum<T>(total);
    }
  }

  // From the filters through the network of the invariants to x.
  void invariants() {
    const int64_t width = s.hidden + s.padded_hidden + lanes;
    // One or two hidden units beyond whole registers cost less as sums along the features.
    const int64_t rest = s.hidden % lanes <= 2 ? s.hidden % lanes : 0;
    const int64_t columns = rest ? s.hidden - rest : s.padded_hidden;
    for (int half = 0; half < 2; ++half) {
      const bool second = half == 1;
      const Half& columns_of = second ? s.x : s.f;
      const int64_t start = columns_of.start, end = start + columns_of.columns;
      // What the product for f writes beyond its columns, that for x replaces.
      T* out = hidden + half * s.hidden;
      product<T>(b.filter + start, s.columns, b.count, {columns_of.chunks, columns_of.width, columns_of.padded_width},
                 b.in.outer_back + half * s.features * s.padded_hidden, s.padded_hidden, columns, out, width, false);
      for (int64_t unit = columns; unit < columns + rest; ++unit)
        for (int n = 0; n < b.count; ++n) {
          const T *w = b.filter + n * s.columns, *own = b.in.outer + unit * s.columns;
          Vec<T> total{};
          for (int64_t c = start; c < end; c += lanes) total += load(w + c) * load(own + c);
          out[n * width + unit] = sum<T>(total);
        }
    }
    for (int n = 0; n < b.count; ++n) {
      Vec<T> totals[kMaxDegrees + lanes] = {};
      for (int64_t c = 0; c < s.hidden_row; c += lanes) {
        const Vec<T> own = load(hidden + n * width + c) * load(b.hidden_slope + n * s.hidden_row + c);
        for (int l = 0; l < s.degrees_count; ++l) totals[l] += own * load(b.in.inner + l * s.hidden_row + c);
      }
      T back[kMaxDegrees + lanes];
      for (int l = 0; l < s.degrees_count; l += lanes)
        store(back + l, static_cast<T>(2) * each_sum<T>(totals + l) * load(b.orders.contraction + l));
      T *own = euclidean(b.center[n]), *far = euclidean(b.other[n]);
      for (int64_t c = 0; c < s.padded_orders; c += lanes) {
        const Vec<T> step = b.orders.spread(back, b.orders.of_degree, c) * load(b.difference + n * s.padded_orders + c);
        store(far + c, load(far + c) + step);
        store(own + c, load(own + c) - step);
      }
    }
  }
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
