// Real orthonormal spherical harmonics and their derivatives with respect to a unit vector, for one register of pairs.
// The same recursions as in so3krates/nn/spherical.py; d/dz of Q_lm is Q_l,m+1.
#pragma once

#include "network.h"
#include "simd.h"

namespace so3krates {
namespace SO3K_VARIANT {

template <class T>
struct Harmonics {
  Vec<T> legendre[kMaxDegree + 1][kMaxDegree + 2];  // Q_lm, one order more than there is: zero
  Vec<T> real[kMaxDegree + 1], imaginary[kMaxDegree + 1];

  SO3K_INLINE Harmonics(Vec<T> x, Vec<T> y, Vec<T> z, int top) {
    T odd = 1;
    for (int m = 0; m <= top; ++m) {
      legendre[m][m] = all<T>(odd);
      legendre[m][m + 1] = Vec<T>{};
      odd *= static_cast<T>(2 * m + 1);
      for (int l = m + 1; l <= top; ++l) {
        Vec<T> value = static_cast<T>(2 * l - 1) * z * legendre[l - 1][m];
        if (l >= m + 2) value -= static_cast<T>(l + m - 1) * legendre[l - 2][m];
        legendre[l][m] = value / static_cast<T>(l - m);
      }
    }
    real[0] = all<T>(1);
    imaginary[0] = Vec<T>{};
    for (int m = 1; m <= top; ++m) {
      real[m] = x * real[m - 1] - y * imaginary[m - 1];
      imaginary[m] = x * imaginary[m - 1] + y * real[m - 1];
    }
  }
};

// √((2l+1)/4π (l−m)!/(l+m)!), times √2 for m > 0.
struct Norms {
  double of[kMaxDegree + 1][kMaxDegree + 1];
  Norms() {
    for (int l = 0; l <= kMaxDegree; ++l)
      for (int m = 0; m <= l; ++m) {
        double ratio = 1;
        for (int k = l - m + 1; k <= l + m; ++k) ratio /= k;
        of[l][m] = __builtin_sqrt((2 * l + 1) / (4 * 3.14159265358979323846) * ratio * (m ? 2 : 1));
      }
  }
};

// Y of one register of pairs into rows of the pairs: `out[lane * stride + order]`.
template <class T>
SO3K_INLINE void harmonics(const Shape& s, const Norms& norms, int top, Vec<T> x, Vec<T> y, Vec<T> z, T* out,
                           int64_t stride) {
  const Harmonics<T> h(x, y, z, top);
  int64_t column = 0;
  for (int d = 0; d < s.degrees_count; ++d) {
    const int l = s.degrees[d];
    for (int m = -l; m <= l; ++m, ++column) {
      const int n = m < 0 ? -m : m;
      Vec<T> value = static_cast<T>(norms.of[l][n]) * h.legendre[l][n];
      if (m < 0) value *= h.imaginary[n];
      if (m > 0) value *= h.real[n];
      for (int lane = 0; lane < Simd<T>::lanes; ++lane) out[lane * stride + column] = value[lane];
    }
  }
}

// Gradient with respect to the unit vector of Σ_lm weight_lm Y_lm, weights in rows of the pairs.
template <class T>
SO3K_INLINE void harmonics_back(const Shape& s, const Norms& norms, int top, Vec<T> x, Vec<T> y, Vec<T> z,
                                const T* weights, int64_t stride, Vec<T>* gradient) {
  const Harmonics<T> h(x, y, z, top);
  Vec<T> gx{}, gy{}, gz{};
  int64_t column = 0;
  for (int d = 0; d < s.degrees_count; ++d) {
    const int l = s.degrees[d];
    for (int m = -l; m <= l; ++m, ++column) {
      const int n = m < 0 ? -m : m;
      Vec<T> weight;
      for (int lane = 0; lane < Simd<T>::lanes; ++lane) weight[lane] = weights[lane * stride + column];
      weight *= static_cast<T>(norms.of[l][n]);
      const Vec<T> q = weight * h.legendre[l][n], slope = weight * h.legendre[l][n + 1];
      if (m == 0) {
        gz += slope;
      } else {
        const Vec<T> times = static_cast<T>(n) * q;
        if (m > 0) {
          gx += times * h.real[n - 1];
          gy -= times * h.imaginary[n - 1];
          gz += slope * h.real[n];
        } else {
          gx += times * h.imaginary[n - 1];
          gy += times * h.real[n - 1];
          gz += slope * h.imaginary[n];
        }
      }
    }
  }
  gradient[0] = gx;
  gradient[1] = gy;
  gradient[2] = gz;
}

}  // namespace SO3K_VARIANT
}  // namespace so3krates
