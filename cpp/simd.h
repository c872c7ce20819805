// Vectors of numbers by the compiler's vector extensions (GCC and Clang): the same source serves every instruction set,
// and a file that includes it is compiled once for each. `SO3K_BYTES` is the size of a register.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

namespace so3krates {
namespace SO3K_VARIANT {

#define SO3K_INLINE inline __attribute__((always_inline))

template <class T, int Bytes>
struct Register {
  static constexpr int lanes = Bytes / sizeof(T);
  typedef T Vec __attribute__((vector_size(Bytes)));
  typedef T Loose __attribute__((vector_size(Bytes), aligned(alignof(T)), may_alias));
  static SO3K_INLINE Vec load(const T* from) { return *reinterpret_cast<const Loose*>(from); }
  static SO3K_INLINE void store(T* to, Vec value) { *reinterpret_cast<Loose*>(to) = value; }
};

template <class T>
using Simd = Register<T, SO3K_BYTES>;

template <class T>
using Vec = typename Simd<T>::Vec;

template <class T>
SO3K_INLINE Vec<T> load(const T* from) {
  return Simd<T>::load(from);
}

template <class T>
SO3K_INLINE void store(T* to, Vec<T> value) {
  Simd<T>::store(to, value);
}

template <class T>
SO3K_INLINE Vec<T> all(T value) {
  return Vec<T>{} + value;
}

// Sum of the lanes, always in the same order: halves are added until one lane is left.
template <class T>
SO3K_INLINE T sum(Vec<T> v) {
  constexpr int lanes = Simd<T>::lanes;
  static_assert(lanes == 2 || lanes == 4 || lanes == 8 || lanes == 16);
  if constexpr (lanes == 16) {
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
    v += __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0);
  } else if constexpr (lanes == 8) {
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1);
    v += __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0);
  } else if constexpr (lanes == 4) {
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1);
    v += __builtin_shufflevector(v, v, 1, 0, 1, 0);
  } else {
    v += __builtin_shufflevector(v, v, 1, 0);
  }
  return v[0];
}

// Two registers that hold sums in the making, each spread over `Width` lanes, as one register of twice as many, each
// spread over half as many.
template <class T, int Width, int... Lane>
SO3K_INLINE Vec<T> folded(Vec<T> a, Vec<T> b, std::integer_sequence<int, Lane...>) {
  constexpr int half = Width / 2;
  return __builtin_shufflevector(a, b, (Lane / half * Width + Lane % half)...) +
         __builtin_shufflevector(a, b, (Lane / half * Width + Lane % half + half)...);
}

template <class T, int Count>
SO3K_INLINE Vec<T> each_sum_from(const Vec<T>* v) {
  constexpr int lanes = Simd<T>::lanes;
  if constexpr (Count == 1) {
    return v[0];
  } else {
    return folded<T, 2 * lanes / Count>(each_sum_from<T, Count / 2>(v), each_sum_from<T, Count / 2>(v + Count / 2),
                                        std::make_integer_sequence<int, lanes>());
  }
}

// The sums of as many registers as a register has lanes, in their order: far fewer operations than one after another.
template <class T>
SO3K_INLINE Vec<T> each_sum(const Vec<T>* v) {
  return each_sum_from<T, Simd<T>::lanes>(v);
}

template <class T, int Step, int... Lane>
SO3K_INLINE void exchange_lanes(Vec<T>& a, Vec<T>& b, std::integer_sequence<int, Lane...>) {
  constexpr int lanes = Simd<T>::lanes;
  const Vec<T> first = __builtin_shufflevector(a, b, (Lane & Step ? lanes + Lane - Step : Lane)...);
  b = __builtin_shufflevector(a, b, (Lane & Step ? lanes + Lane : Lane + Step)...);
  a = first;
}

// As many registers as a register has lanes, rows and columns exchanged.
template <class T, int Step = Simd<T>::lanes / 2>
SO3K_INLINE void transpose(Vec<T>* v) {
  if constexpr (Step > 0) {
    for (int n = 0; n < Simd<T>::lanes; ++n)
      if ((n & Step) == 0)
        exchange_lanes<T, Step>(v[n], v[n + Step], std::make_integer_sequence<int, Simd<T>::lanes>());
    transpose<T, Step / 2>(v);
  }
}

template <class T>
struct Exponential;

// e^x by 2^n e^r with |r| ≤ ½ ln 2: Taylor polynomials long enough for the precision, good to one or two units in the
// last place. Arguments are kept where the result is a normal number.
template <>
struct Exponential<float> {
  using Int = int32_t;
  static constexpr float least = -87.0f, most = 88.0f, magic = 12582912.0f;  // 1.5 · 2^23
  static constexpr float log2e = 1.44269504088896341f, high = 0.693359375f, low = -2.12194440e-4f;
  static constexpr int degree = 7, bias = 127, mantissa = 23;
};
template <>
struct Exponential<double> {
  using Int = int64_t;
  static constexpr double least = -708.0, most = 709.0, magic = 6755399441055744.0;  // 1.5 · 2^52
  static constexpr double log2e = 1.44269504088896340736, high = 6.93145751953125e-1, low = 1.42860682030941723212e-6;
  static constexpr int degree = 13, bias = 1023, mantissa = 52;
};

template <class T>
SO3K_INLINE Vec<T> exponential(Vec<T> x) {
  using E = Exponential<T>;
  typedef typename E::Int Ints __attribute__((vector_size(SO3K_BYTES)));
  x = x < E::least ? all<T>(E::least) : x;
  x = x > E::most ? all<T>(E::most) : x;
  const Vec<T> shifted = x * E::log2e + E::magic;
  const Vec<T> n = shifted - E::magic;
  const Vec<T> r = (x - n * E::high) - n * E::low;
  T inverse_factorial = 1;
  T coefficients[E::degree + 1];
#pragma GCC unroll 16
  for (int k = 0; k <= E::degree; ++k) {
    coefficients[k] = inverse_factorial;
    inverse_factorial /= static_cast<T>(k + 1);
  }
  // Even and odd powers apart: two short chains of dependent operations instead of a long one.
  static_assert(E::degree % 2 == 1);
  const Vec<T> squared = r * r;
  Vec<T> even = all<T>(coefficients[E::degree - 1]), odd = all<T>(coefficients[E::degree]);
#pragma GCC unroll 16
  for (int k = E::degree - 3; k >= 0; k -= 2) {
    even = even * squared + coefficients[k];
    odd = odd * squared + coefficients[k + 1];
  }
  const Vec<T> value = even + r * odd;
  Ints bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits + E::bias) << E::mantissa;  // the low bits of `shifted` are n
  Vec<T> power;
  std::memcpy(&power, &bits, sizeof(power));
  return value * power;
}

template <class T>
SO3K_INLINE Vec<T> sigmoid(Vec<T> x) {
  return static_cast<T>(1) / (static_cast<T>(1) + exponential<T>(-x));
}

// d/dx of SiLU(x) = x σ(x).
template <class T>
SO3K_INLINE Vec<T> silu_slope(Vec<T> x) {
  const Vec<T> gate = sigmoid<T>(x);
  return gate * (static_cast<T>(1) + x * (static_cast<T>(1) - gate));
}

}  // namespace SO3K_VARIANT
}  // namespace so3krates
