// Both filters of a layer for a block of pairs, and their derivatives: products from one hidden layer to the next
// without leaving the cache. By kinds of atoms, scores in place of filters.
#pragma once

#include <cstring>

#include "memory.h"
#include "products.h"
#include "training.h"

namespace so3krates {
namespace SO3K_VARIANT {

template <class T, bool ByKind>
class TrainedFilters {
 public:
  TrainedFilters(const TrainCall<T>& call, int64_t part) : call_(call), s_(call.s), own_(call.scratch[part]) {}

  // The pairs that all that follows is about, and whether to add to the sums or to begin them.
  void choose(int64_t start, int64_t rows, bool add) {
    start_ = start;
    rows_ = rows;
    add_ = add;
  }

  void clear_sums() {
    for (int filter = 0; filter < kFilters; ++filter)
      for (int n = 0; n < kParameters; ++n) clear(own_.sums[filter][n], size_of(s_, filter, n).padded_count());
  }

  void forward(int n) {
    T* const hidden = of_hidden(call_.hidden, n);
    set_rows(packed(n).parameters[radial_bias], s_.padded_radial, hidden, kept_);
    set_rows(packed(n).parameters[spherical_bias], s_.padded_spherical, hidden + s_.padded_radial, kept_);
    enter(n, hidden, kept_, true);
    each([&](int64_t row, int64_t at) {
      const Vec<T> x = load(hidden + row * kept_ + at), gate = sigmoid<T>(x);
      store(of_hidden(call_.gate, n) + row * kept_ + at, gate);
      store(own_.hidden + row * s_.hidden + at, x * gate);
    });
    if constexpr (ByKind)
      return each_vector(n, [&](int64_t row, int64_t score, int64_t vector, int64_t) {
        call_.scores[score] = packed(n).parameters[out_bias][vector] + with_vector(n, vector, own_.hidden, row);
      });
    set_rows(packed(n).parameters[out_bias], s_.columns, own_.values, s_.columns);
    leave(n, own_.hidden, own_.values, s_.columns, true);
    copy_rows(own_.values, s_.columns, of_values(call_.values, n), kFilters * s_.features, s_.features);
  }

  void back(int n) {
    T* const leaving = of_hidden(call_.leaving, n);
    if constexpr (ByKind)
      turn_scores(n, leaving, kept_);
    else
      turn(n, of_values(call_.values_back, n), kFilters * s_.features, leaving, kept_);
    each([&](int64_t row, int64_t at) {
      store(own_.hidden + row * s_.hidden + at, load(leaving + row * kept_ + at) * slope(n, row, at));
    });
    product(own_.hidden, s_.hidden, rows_, whole(s_.radial), packed(n).radial_in_turned, s_.padded_functions,
            s_.padded_functions, own_.functions, s_.padded_functions, n > 0);
    turn_invariants(n, own_.hidden);
    if (n + 1 < kFilters) return;
    copy_rows(own_.functions, s_.padded_functions, call_.functions_out + start_ * s_.functions, s_.functions,
              s_.functions);
  }

  // Leaves in `factors` what multiplies the derivatives with respect to the filters, or to the scores.
  void second(int n) {
    enter(n, own_.hidden, s_.hidden, false);
    T* const out = of_hidden(call_.hidden_out, n);
    each([&](int64_t row, int64_t at) {
      const Vec<T> x = load(of_hidden(call_.hidden, n) + row * kept_ + at);
      const Vec<T> gate = load(of_hidden(call_.gate, n) + row * kept_ + at);
      const Vec<T> leaving = load(of_hidden(call_.leaving, n) + row * kept_ + at);
      const Vec<T> factor = load(own_.hidden + row * s_.hidden + at);
      const Vec<T> slope = slope_of(x, gate);
      const Vec<T> curvature = gate * (T(1) - gate) * (T(2) + x * (T(1) - T(2) * gate));
      store(out + row * kept_ + at, factor * leaving * curvature);
      store(own_.hidden + row * s_.hidden + at, factor * slope);
      store(own_.more_hidden + row * s_.hidden + at, leaving * slope);
    });
    if constexpr (ByKind) {
      each_vector(n, [&](int64_t row, int64_t, int64_t vector, int64_t factor) {
        own_.factors[factor] = with_vector(n, vector, own_.hidden, row);
      });
      add_vectors(n, own_.hidden);
    } else {
      leave(n, own_.hidden, own_.factors + n * s_.columns, kFilters * s_.columns, false);
      pad_rows(of_values(call_.values_back, n));
      add_outer(n, own_.hidden);
    }
    add_inner(n, own_.more_hidden);
  }

  // From values_back and values_more, and hidden_more.
  void weights(int n) {
    if constexpr (ByKind) {
      turn_scores(n, own_.hidden, s_.hidden);
    } else {
      pad_rows(of_values(call_.values_back, n));
      add_padded(of_values(call_.values_more, n));
      turn(n, own_.values, s_.columns, own_.hidden, s_.hidden);
    }
    each([&](int64_t row, int64_t at) {
      T* const derivative = own_.hidden + row * s_.hidden + at;
      store(derivative,
            load(derivative) * slope(n, row, at) + load(of_hidden(call_.hidden_more, n) + row * kept_ + at));
      const Vec<T> x = load(of_hidden(call_.hidden, n) + row * kept_ + at);
      store(own_.more_hidden + row * s_.hidden + at, x * load(of_hidden(call_.gate, n) + row * kept_ + at));
    });
    turn_invariants(n, own_.hidden);
    add_inner(n, own_.hidden);
    add_rows(own_.hidden, s_.hidden, s_.padded_radial, own_.sums[n][radial_bias]);
    if constexpr (ByKind) {
      add_vectors(n, own_.more_hidden);
      T* const sums = own_.sums[n][out_bias];
      if (!add_) clear(sums, size_of(s_, n, out_bias).padded_count());
      return each_vector(
          n, [&](int64_t, int64_t score, int64_t vector, int64_t) { sums[vector] += call_.scores_back[score]; });
    }
    add_outer(n, own_.more_hidden);
    add_rows(own_.hidden + s_.padded_radial, s_.hidden, s_.padded_spherical, own_.sums[n][spherical_bias]);
    add_rows(own_.values, s_.columns, s_.columns, own_.sums[n][out_bias]);
  }

 private:
  // `work(row, column)` for every register of the hidden columns.
  template <class Work>
  SO3K_INLINE void each(const Work& work) {
    for (int64_t row = 0; row < rows_; ++row)
      for (int64_t at = 0; at < s_.hidden; at += Simd<T>::lanes) work(row, at);
  }

  static Inner whole(int64_t length) { return {1, length, 0}; }

  const PackedFilter<T>& packed(int n) const { return call_.packed[n]; }

  template <class A>
  A* of_hidden(A* array, int n) const {
    return array + (start_ * kFilters + n) * s_.hidden;
  }

  template <class A>
  A* of_values(A* array, int n) const {
    return array + (start_ * kFilters + n) * s_.features;
  }

  SO3K_INLINE Vec<T> slope(int n, int64_t row, int64_t at) const {
    const Vec<T> x = load(of_hidden(call_.hidden, n) + row * kept_ + at);
    return slope_of(x, load(of_hidden(call_.gate, n) + row * kept_ + at));
  }

  // Of SiLU, given its logistic function.
  static SO3K_INLINE Vec<T> slope_of(Vec<T> x, Vec<T> gate) { return gate * (T(1) + x * (T(1) - gate)); }

  void set_rows(const T* row, int64_t count, T* out, int64_t stride) {
    for (int64_t r = 0; r < rows_; ++r) std::memcpy(out + r * stride, row, sizeof(T) * count);
  }

  void copy_rows(const T* block, int64_t block_stride, T* out, int64_t stride, int64_t count) {
    for (int64_t r = 0; r < rows_; ++r) std::memcpy(out + r * stride, block + r * block_stride, sizeof(T) * count);
  }

  // Derivatives with respect to the filters, into padded rows.
  void pad_rows(const T* from) {
    for (int64_t r = 0; r < rows_; ++r) {
      T* const row = own_.values + r * s_.columns;
      std::memcpy(row, from + r * kFilters * s_.features, sizeof(T) * s_.features);
      clear(row + s_.features, s_.columns - s_.features);
    }
  }

  void add_padded(const T* from) {
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t k = 0; k < s_.features; ++k) own_.values[r * s_.columns + k] += from[r * kFilters * s_.features + k];
  }

  // `work(row, score, vector, factor)` for both directions of every pair and chunk: where its score stands among all,
  // the vector of its kinds, and where its factor stands in this block.
  template <class Work>
  SO3K_INLINE void each_vector(int n, const Work& work) const {
    const int64_t count = s_.chunks_of(n), chunks = s_.chunks(), start = n == 0 ? 0 : s_.heads;
    for (int64_t row = 0; row < rows_; ++row) {
      const int64_t p = start_ + row, center = call_.kind[call_.centers[p]], other = call_.kind[call_.others[p]];
      for (int64_t chunk = 0; chunk < count; ++chunk) {
        const int64_t score = p * chunks + start + chunk, factor = row * kDirections * chunks + start + chunk;
        work(row, score, (center * s_.kinds + other) * count + chunk, factor);
        work(row, score + s_.pairs * chunks, (other * s_.kinds + center) * count + chunk, factor + chunks);
      }
    }
  }

  SO3K_INLINE T with_vector(int n, int64_t vector, const T* hidden, int64_t row) const {
    const T* const v = packed(n).parameters[radial_out] + vector * s_.padded_radial;
    const T* const h = hidden + row * s_.hidden;
    Vec<T> even{}, odd{};
    int64_t at = 0;
    for (; at + 2 * Simd<T>::lanes <= s_.padded_radial; at += 2 * Simd<T>::lanes) {
      even += load(v + at) * load(h + at);
      odd += load(v + at + Simd<T>::lanes) * load(h + at + Simd<T>::lanes);
    }
    if (at < s_.padded_radial) even += load(v + at) * load(h + at);
    return sum<T>(even + odd);
  }

  // From derivatives with respect to the scores to those with respect to what leaves the hidden layers.
  void turn_scores(int n, T* out, int64_t stride) {
    for (int64_t row = 0; row < rows_; ++row) clear(out + row * stride, s_.padded_radial);
    each_vector(n, [&](int64_t row, int64_t score, int64_t vector, int64_t) {
      add_scaled(call_.scores_back[score], packed(n).parameters[radial_out] + vector * s_.padded_radial,
                 out + row * stride);
    });
  }

  // Derivatives with respect to the vectors.
  void add_vectors(int n, const T* hidden) {
    T* const sums = own_.sums[n][radial_out];
    if (!add_) clear(sums, size_of(s_, n, radial_out).padded_count());
    each_vector(n, [&](int64_t row, int64_t score, int64_t vector, int64_t) {
      add_scaled(call_.scores_back[score], hidden + row * s_.hidden, sums + vector * s_.padded_radial);
    });
  }

  SO3K_INLINE void add_scaled(T scale, const T* from, T* to) const {
    for (int64_t at = 0; at < s_.padded_radial; at += Simd<T>::lanes)
      store(to + at, load(to + at) + scale * load(from + at));
  }

  // Into the hidden layers.
  void enter(int n, T* out, int64_t stride, bool add) {
    product(call_.functions + start_ * s_.functions, s_.functions, rows_, whole(s_.functions),
            packed(n).parameters[radial_in], s_.padded_radial, s_.padded_radial, out, stride, add);
    product(call_.invariants + start_ * s_.invariants, s_.invariants, rows_, whole(s_.invariants),
            packed(n).parameters[spherical_in], s_.padded_spherical, s_.padded_spherical, out + s_.padded_radial,
            stride, add);
  }

  // Out of the hidden layers.
  void leave(int n, const T* hidden, T* out, int64_t stride, bool add) {
    product(hidden, s_.hidden, rows_, whole(s_.radial), packed(n).parameters[radial_out], s_.columns, s_.columns, out,
            stride, add);
    if (s_.spherical == 0) return;
    product(hidden + s_.padded_radial, s_.hidden, rows_, whole(s_.spherical), packed(n).parameters[spherical_out],
            s_.columns, s_.columns, out, stride, true);
  }

  // From derivatives with respect to the filters to those with respect to what leaves the hidden layers.
  void turn(int n, const T* values, int64_t values_stride, T* out, int64_t stride) {
    product(values, values_stride, rows_, whole(s_.features), packed(n).out_turned, s_.hidden, s_.hidden, out, stride,
            false);
  }

  // From what enters the spherical networks to the invariants, once the last filter has been added.
  void turn_invariants(int n, const T* hidden) {
    if (s_.invariants == 0) return;
    product(hidden + s_.padded_radial, s_.hidden, rows_, whole(s_.spherical), packed(n).spherical_in_turned,
            s_.padded_invariants, s_.padded_invariants, own_.invariants, s_.padded_invariants, n > 0);
    if (n + 1 < kFilters) return;
    copy_rows(own_.invariants, s_.padded_invariants, call_.invariants_out + start_ * s_.invariants, s_.invariants,
              s_.invariants);
  }

  // Derivatives with respect to the matrices behind the hidden layers, with those of the filters in `values`.
  void add_outer(int n, const T* hidden) {
    product<T, Kept::columns>(hidden, s_.hidden, s_.radial, whole(rows_), own_.values, s_.columns, s_.columns,
                              own_.sums[n][radial_out], s_.columns, add_);
    product<T, Kept::columns>(hidden + s_.padded_radial, s_.hidden, s_.spherical, whole(rows_), own_.values, s_.columns,
                              s_.columns, own_.sums[n][spherical_out], s_.columns, add_);
  }

  // With respect to those before them.
  void add_inner(int n, const T* hidden) {
    product<T, Kept::columns>(call_.functions + start_ * s_.functions, s_.functions, s_.functions, whole(rows_), hidden,
                              s_.hidden, s_.padded_radial, own_.sums[n][radial_in], s_.padded_radial, add_);
    product<T, Kept::columns>(call_.invariants + start_ * s_.invariants, s_.invariants, s_.invariants, whole(rows_),
                              hidden + s_.padded_radial, s_.hidden, s_.padded_spherical, own_.sums[n][spherical_in],
                              s_.padded_spherical, add_);
  }

  void add_rows(const T* block, int64_t stride, int64_t count, T* sums) {
    for (int64_t at = 0; at < count; at += Simd<T>::lanes) {
      Vec<T> sum = add_ ? load(sums + at) : Vec<T>{};
      for (int64_t r = 0; r < rows_; ++r) sum += load(block + r * stride + at);
      store(sums + at, sum);
    }
  }

  const TrainCall<T>& call_;
  const TrainShape& s_;
  const TrainScratch<T>& own_;
  const int64_t kept_ = kFilters * call_.s.hidden;  // stride of what is kept of every pair
  int64_t start_ = 0, rows_ = 0;
  bool add_ = false;
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
