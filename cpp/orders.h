// Sums over the orders of each degree, and copies of a number of each degree to its orders, by rows of ones and zeros.
#pragma once

#include "memory.h"
#include "network.h"

namespace so3krates {
namespace SO3K_VARIANT {

template <class T>
struct Orders {
  static constexpr int lanes = Simd<T>::lanes;
  const int64_t width;
  const int count;  // degrees
  const T *of_degree, *parity, *contraction;

  explicit Orders(const Call<T>& call)
      : width(call.s.padded_orders),
        count(call.s.degrees_count),
        of_degree(call.saved.of_degree),
        parity(call.saved.parity),
        contraction(call.saved.contraction) {}

  // The rows that all of them read.
  static void prepare(const Call<T>& call) {
    const Shape& s = call.s;
    for (T* rows : {call.saved.of_degree, call.saved.parity}) clear(rows, kMaxDegrees * s.padded_orders);
    clear(call.saved.contraction, kRoom);
    int64_t column = 0;
    for (int d = 0; d < s.degrees_count; ++d) {
      const int l = s.degrees[d];
      call.saved.contraction[d] = static_cast<T>(1 / __builtin_sqrt(2.0 * l + 1));
      for (int m = -l; m <= l; ++m, ++column) {
        call.saved.of_degree[d * s.padded_orders + column] = 1;
        call.saved.parity[d * s.padded_orders + column] = l % 2 ? -1 : 1;
      }
    }
  }

  // Numbers of the degrees, one for each order; `table` is of_degree, or parity.
  SO3K_INLINE Vec<T> spread(const T* numbers, const T* table, int64_t column) const {
    Vec<T> result = numbers[0] * load(table + column);
    for (int l = 1; l < count; ++l) result += numbers[l] * load(table + l * width + column);
    return result;
  }

  // Σ_m a_lm b_lm for every degree; writes whole registers.
  SO3K_INLINE void gathered(const T* a, const T* b, T* result) const {
    Vec<T> parts[kMaxDegrees + lanes] = {};
    for (int64_t c = 0; c < width; c += lanes) {
      const Vec<T> products = load(a + c) * load(b + c);
      for (int l = 0; l < count; ++l) parts[l] += products * load(of_degree + l * width + c);
    }
    for (int l = 0; l < count; l += lanes) store(result + l, each_sum<T>(parts + l));
  }

  // The same of a and the harmonics, then of b and the harmonics seen from the other end.
  SO3K_INLINE void gathered(const T* a, const T* b, const T* harmonics, T* result) const {
    Vec<T> parts[2 * kMaxDegrees + lanes] = {};
    for (int64_t c = 0; c < width; c += lanes) {
      const Vec<T> y = load(harmonics + c), of_a = load(a + c) * y, of_b = load(b + c) * y;
      for (int l = 0; l < count; ++l) {
        parts[l] += of_a * load(of_degree + l * width + c);
        parts[count + l] += of_b * load(parity + l * width + c);
      }
    }
    for (int l = 0; l < 2 * count; l += lanes) store(result + l, each_sum<T>(parts + l));
  }
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
