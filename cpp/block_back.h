// The transpose of a block of pairs: from cotangents of the messages to those of queries, keys, values, x and vectors.
#pragma once

#include "block.h"

namespace so3krates {
namespace SO3K_VARIANT {

template <class T>
struct BlockBack {
  static constexpr int lanes = Simd<T>::lanes;
  Block<T> b;
  const Shape& s;
  const Inputs<T>& in;
  const Backward<T>& out;
  const T* rows;
  T* sums;                // of this part: atoms, row
  Buffer<T> coefficient;  // cotangents of the coefficients, then times cutoff and scale: kRoom, 2, chunks
  Buffer<T> harmonic;     // cotangents of Y: kRoom, padded_orders
  Buffer<T> hidden;       // kRoom, 2 padded_hidden
  alignas(64) T radial[kRoom] = {};  // ∂E/∂r

  BlockBack(const Shape& shape, const Inputs<T>& inputs, const Backward<T>& outputs, int64_t part)
      : b(shape, inputs),
        s(shape),
        in(inputs),
        out(outputs),
        rows(outputs.rows),
        sums(outputs.sums + part * shape.atoms * shape.row),
        coefficient(kRoom * 2 * b.chunks),
        harmonic(kRoom * shape.padded_orders),
        hidden(kRoom * 2 * shape.padded_hidden) {}

  T* query(int64_t atom) { return sums + atom * s.row; }
  T* key(int64_t atom) { return sums + atom * s.row + s.columns; }
  T* value(int64_t atom) { return sums + atom * s.row + 2 * s.columns; }
  T* euclidean(int64_t atom) { return sums + (atom + 1) * s.row - s.padded_orders; }
  const T* received(int64_t atom) const { return out.received + atom * (s.columns_f + s.padded_orders); }

  void run(int64_t first, int64_t last) {
    std::memset(out.vectors + 3 * first, 0, sizeof(T) * 3 * (last - first));
    for (int64_t next = first; b.fill(next, last, rows, sums, s.row);) {
      b.place();
      b.make_harmonics();
      b.make_filters(rows, true);
      b.make_overlaps(rows);
      b.make_weights();
      values();
      orders();
      products();
      radii();
      if (s.has_x) invariants();
      vectors();
    }
  }

  // Cotangents of the values, and of the coefficients of f.
  void values() {
    const int chunks = b.chunks;
    std::memset(coefficient, 0, sizeof(T) * b.count * 2 * chunks);
    for (int from = 0, to; from < b.count; from = to) {
      to = b.group_end(from);
      const int64_t i = b.center[from];
      for (int r = 0; r < b.runs_f; ++r) {
        const Run run = b.runs[r];
        with_vectors(run.vectors, [&](auto number) {
          constexpr int N = decltype(number)::value;
          const T *v_i = b.value(rows, i) + run.start, *g_i = received(i) + run.start;
          Vec<T> own[N], got[N], back[N]{};
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) {
            own[v] = load(v_i + v * lanes);
            got[v] = load(g_i + v * lanes);
          }
          for (int n = from; n < to; ++n) {
            const int64_t j = b.other[n];
            const T *v_j = b.value(rows, j) + run.start, *g_j = received(j) + run.start;
            T* back_j = value(j) + run.start;
            const T to_center = b.weight[n * 2 * chunks + run.chunk];
            const T to_other = b.weight[n * 2 * chunks + chunks + run.chunk];
            Vec<T> of_center{}, of_other{};
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) {
              const Vec<T> g = load(g_j + v * lanes);
              of_center += got[v] * load(v_j + v * lanes);
              of_other += own[v] * g;
              back[v] += to_other * g;
              store(back_j + v * lanes, load(back_j + v * lanes) + to_center * got[v]);
            }
            coefficient[n * 2 * chunks + run.chunk] += sum<T>(of_center);
            coefficient[n * 2 * chunks + chunks + run.chunk] += sum<T>(of_other);
          }
          T* back_i = value(i) + run.start;
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) store(back_i + v * lanes, load(back_i + v * lanes) + back[v]);
        });
      }
    }
  }

  // Cotangents of the harmonics and of the coefficients of x.
  void orders() {
    const int64_t width = s.padded_orders;
    for (int n = 0; n < b.count; ++n) {
      const T *h_i = received(b.center[n]) + s.columns_f, *h_j = received(b.other[n]) + s.columns_f;
      const T* y = b.harmonic + n * width;
      const T* to_center = b.weight + n * 2 * b.chunks + s.heads;
      const T* to_other = to_center + b.chunks;
      T* back = coefficient + n * 2 * b.chunks + s.heads;
      for (int64_t c = 0; c < width; c += lanes)
        store(harmonic + n * width + c, load(h_i + c) * b.at_orders(to_center, b.of_degree, c) +
                                            load(h_j + c) * b.at_orders(to_other, b.parity, c));
      for (int l = 0; l < s.degrees_count; ++l) {
        Vec<T> of_center{}, of_other{};
        for (int64_t c = 0; c < width; c += lanes) {
          of_center += load(h_i + c) * load(y + c) * load(b.of_degree + l * width + c);
          of_other += load(h_j + c) * load(y + c) * load(b.parity + l * width + c);
        }
        back[l] = sum<T>(of_center);
        back[b.chunks + l] = sum<T>(of_other);
      }
    }
  }

  // From the coefficients to queries, keys and filters; the filters' cotangents replace the filters.
  void products() {
    const int chunks = b.chunks;
    for (int n = 0; n < b.count; ++n) {
      T of_cutoff = 0;
      T* own = coefficient + n * 2 * chunks;
      for (int c = 0; c < 2 * chunks; ++c) {
        own[c] *= b.scale[c];
        of_cutoff += own[c] * b.overlap[n * 2 * chunks + c];
        own[c] *= b.phi[n];
      }
      radial[n] = of_cutoff * b.phi_slope[n];
    }
    for (int from = 0, to; from < b.count; from = to) {
      to = b.group_end(from);
      const int64_t i = b.center[from];
      for (int r = 0; r < b.runs_all; ++r) {
        const Run run = b.runs[r];
        with_vectors(run.vectors, [&](auto number) {
          constexpr int N = decltype(number)::value;
          const T *q_i = b.query(rows, i) + run.start, *k_i = b.key(rows, i) + run.start;
          Vec<T> q[N], k[N], q_back[N]{}, k_back[N]{};
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) {
            q[v] = load(q_i + v * lanes);
            k[v] = load(k_i + v * lanes);
          }
          for (int n = from; n < to; ++n) {
            const int64_t j = b.other[n];
            const T *q_j = b.query(rows, j) + run.start, *k_j = b.key(rows, j) + run.start;
            T *q_back_j = query(j) + run.start, *k_back_j = key(j) + run.start;
            T* w = b.filter + n * s.columns + run.start;
            const T to_center = coefficient[n * 2 * chunks + run.chunk];
            const T to_other = coefficient[n * 2 * chunks + chunks + run.chunk];
#pragma GCC unroll 8
            for (int v = 0; v < N; ++v) {
              const Vec<T> own = load(w + v * lanes), kj = load(k_j + v * lanes), qj = load(q_j + v * lanes);
              const Vec<T> first = to_center * own, second = to_other * own;
              q_back[v] += first * kj;
              k_back[v] += second * qj;
              store(k_back_j + v * lanes, load(k_back_j + v * lanes) + first * q[v]);
              store(q_back_j + v * lanes, load(q_back_j + v * lanes) + second * k[v]);
              store(w + v * lanes, to_center * (q[v] * kj) + to_other * (k[v] * qj));
            }
          }
          T *q_back_i = query(i) + run.start, *k_back_i = key(i) + run.start;
#pragma GCC unroll 8
          for (int v = 0; v < N; ++v) {
            store(q_back_i + v * lanes, load(q_back_i + v * lanes) + q_back[v]);
            store(k_back_i + v * lanes, load(k_back_i + v * lanes) + k_back[v]);
          }
        });
      }
    }
  }

  // ∂E/∂r through the filters' tables.
  void radii() {
    for (int n = 0; n < b.count; ++n) {
      const T t = b.position[n];
      const T h00 = 6 * t * (t - 1), h10 = 1 + t * (3 * t - 4), h11 = t * (3 * t - 2);
      const T* table = in.radial + b.knot[n] * 2 * s.columns;
      const T* w = b.filter + n * s.columns;
      Vec<T> total{};
      for (int64_t c = 0; c < s.columns; c += lanes)
        total += load(w + c) * (h00 * (load(table + c) - load(table + 2 * s.columns + c)) +
                                h10 * load(table + s.columns + c) + h11 * load(table + 3 * s.columns + c));
      radial[n] += sum<T>(total) * b.stretch[n];
    }
  }

  // From the filters through the network of the invariants to x.
  void invariants() {
    const int64_t width = 2 * s.padded_hidden;
    for (int half = 0; half < 2; ++half) {
      const bool second = half == 1;
      const int64_t chunks = second ? s.degrees_count : s.heads;
      const int64_t chunk = second ? s.chunk_width : s.head_width, step = second ? s.padded_chunk : s.padded_head;
      product<T>(b.filter + (second ? s.columns_f : 0), s.columns, b.count, {chunks, chunk, step},
                 in.outer_back + half * s.features * s.padded_hidden, s.padded_hidden, s.padded_hidden,
                 hidden + half * s.padded_hidden, width, false);
    }
    for (int n = 0; n < b.count; ++n) {
      T back[kMaxDegrees];
      for (int l = 0; l < s.degrees_count; ++l) {
        Vec<T> total{};
        for (int64_t c = 0; c < width; c += lanes)
          total += load(hidden + n * width + c) * load(b.hidden_slope + n * width + c) * load(in.inner + l * width + c);
        back[l] = 2 * sum<T>(total) * b.contraction[l];
      }
      T *own = euclidean(b.center[n]), *far = euclidean(b.other[n]);
      for (int64_t c = 0; c < s.padded_orders; c += lanes) {
        const Vec<T> step = b.at_orders(back, b.of_degree, c) * load(b.difference + n * s.padded_orders + c);
        store(far + c, load(far + c) + step);
        store(own + c, load(own + c) - step);
      }
    }
  }

  // From lengths and directions to vectors: ∂E/∂r u + (g − u (u·g))/r.
  void vectors() {
    for (int n = 0; n < b.count; n += lanes) {
      const Vec<T> x = load(b.x + n), y = load(b.y + n), z = load(b.z + n), inverse = load(b.inverse + n);
      Vec<T> g[3];
      harmonics_back<T>(s, b.norms, b.top, x, y, z, harmonic + n * s.padded_orders, s.padded_orders, g);
      const Vec<T> along = load(radial + n) - (x * g[0] + y * g[1] + z * g[2]) * inverse;
      const Vec<T> result[3] = {along * x + g[0] * inverse, along * y + g[1] * inverse, along * z + g[2] * inverse};
      for (int lane = 0; lane < lanes && n + lane < b.count; ++lane)
        for (int a = 0; a < 3; ++a) out.vectors[3 * b.pair[n + lane] + a] = result[a][lane];
    }
  }
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
