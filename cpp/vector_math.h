// Functions of vectors that long-range energies need beside `exponential`, each good to a few units in the last place.
#pragma once

#include <cstdint>
#include <cstring>

#include "simd.h"

namespace so3krates {
namespace SO3K_VARIANT {

// Even and odd powers apart: two short chains of dependent operations instead of a long one.
template <class T, int count>
SO3K_INLINE Vec<T> polynomial(const T (&coefficients)[count], Vec<T> x) {
  static_assert(count >= 2);
  const Vec<T> squared = x * x;
  Vec<T> last = all<T>(coefficients[count - 1]), before = all<T>(coefficients[count - 2]);
#pragma GCC unroll 16
  for (int k = count - 3; k >= 1; k -= 2) {
    last = last * squared + coefficients[k];
    before = before * squared + coefficients[k - 1];
  }
  if constexpr (count % 2 == 0) return before + x * last;
  return (last * squared + coefficients[0]) + x * before;
}

// Polynomials of least largest error: erf(u)/u in u² for u < 1, and erfcx(u) = e^{u²} erfc(u) in 1/u from 1 to where
// erfc no longer counts, weighted by e^{−u²}.
template <class T>
struct ErrorFunction;

template <>
struct ErrorFunction<float> {
  static constexpr float near[] = {1.1283791657249913f,     -0.376126258123349459f,  0.112835850135730011f,
                                   -0.0268538062895711269f, 0.00518831696685193156f, -0.000801009952563991565f,
                                   0.000078535508535252985f};
  static constexpr float far[] = {-0.00166643767874158248f, 0.57791764618652446f,  -0.0340876728831245681f,
                                  -0.30970928754279879f,    0.308395467266389768f, -0.138614770179728055f,
                                  0.0253486413532987926f};
};

template <>
struct ErrorFunction<double> {
  static constexpr double near[] = {1.12837916709551257,     -0.376126389031835194,     0.112837916709441784,
                                    -0.0268661706431104921,  0.00522397760611078791,    -0.000854832592896021856,
                                    0.00012055293566703152,  -0.0000149247121132733349, 1.6447129325144344e-6,
                                    -1.62062971468865772e-7, 1.37109109249754291e-8,    -7.77934294854216804e-10};
  static constexpr double far[] = {
      -0.0000255247223547202292, 0.564874162698433051,  -0.00841921683466380952, -0.219586814160432871,
      -0.308934974895187224,     1.47023031997653945,   -2.36264870551494347,    1.9439831310542886,
      -0.144398567227677785,     -1.85127927605962095,  2.71374329150359293,     -2.22117152038084639,
      1.18688263869998024,       -0.413580933045360724, 0.086081835616810688,    -0.00816627055275118995};
};

// erf(u) of u ≥ 0, given 1/u and `bell` = e^{−u²}, which whoever needs erf needs too.
template <class T>
SO3K_INLINE Vec<T> error_function(Vec<T> u, Vec<T> inverse, Vec<T> bell) {
  using E = ErrorFunction<T>;
  const Vec<T> near = u * polynomial<T>(E::near, u * u);
  const Vec<T> far = T(1) - bell * polynomial<T>(E::far, inverse);
  return u < T(1) ? near : far;
}

template <class T>
struct SeventhRoot;

template <>
struct SeventhRoot<float> {
  using Word = uint32_t;
  static constexpr Word guess = 0x488a9b11u;
  static constexpr int rounds = 2;
};

template <>
struct SeventhRoot<double> {
  using Word = uint64_t;
  static constexpr Word guess = 0x4911536202ecfb0bu;
  static constexpr int rounds = 3;
};

// x^{−1/7} of x > 0. The first guess takes a seventh of the number that the bits of x are, which is about its
// logarithm: 1/8 + 1/64 + … of it, since there is no division of integers. Then by a third-order iteration without
// division.
template <class T>
SO3K_INLINE Vec<T> inverse_seventh_root(Vec<T> x) {
  using R = SeventhRoot<T>;
  typedef typename R::Word Words __attribute__((vector_size(SO3K_BYTES)));
  Words bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const Words seventh = (bits >> 3) + (bits >> 6) + (bits >> 9) + (bits >> 12) + (bits >> 15) + (bits >> 18);
  const Words guess = R::guess - seventh;
  Vec<T> z;
  std::memcpy(&z, &guess, sizeof(z));
#pragma GCC unroll 4
  for (int round = 0; round < R::rounds; ++round) {
    const Vec<T> squared = z * z;
    const Vec<T> wrong = T(1) - x * (squared * squared * (squared * z));
    z += z * (wrong * (T(1) / T(7) + T(4) / T(49) * wrong));
  }
  return z;
}

}  // namespace SO3K_VARIANT
}  // namespace so3krates
