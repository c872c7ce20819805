// Matrix products of a few rows, kept in registers. On processors that have wider registers than the rest of the kernel
// uses (`SO3K_WIDE_BYTES`), products use those: they have no sums over lanes, and padding matters less.
#pragma once

#include "simd.h"

namespace so3krates {
namespace SO3K_VARIANT {

// Rows of a tile that is so many registers wide: with one row of the matrix and a broadcast they fit into the
// registers.
constexpr int tile_rows(int vectors) {
#if SO3K_REGISTERS >= 32
  return vectors <= 2 ? 12 : vectors == 3 ? 8 : vectors == 4 ? 6 : 4;
#else
  return vectors <= 2 ? 6 : 4;
#endif
}

#if SO3K_REGISTERS >= 32
constexpr int kTileVectors = 6;
#else
constexpr int kTileVectors = 3;
#endif

// The inner dimension of a product: `pieces` runs of `length`, which stand `step` apart in the rows of a and follow
// each other in b.
struct Inner {
  int64_t pieces, length, step;
};

// How a is kept: in rows, or turned, a row of it in every column of memory.
enum class Kept { rows, columns };

template <class T, int Bytes, int Rows, int Vectors, Kept A>
SO3K_INLINE void tile(const T* a, int64_t a_stride, Inner inner, const T* b, int64_t b_stride, T* out,
                      int64_t out_stride, bool add) {
  using R = Register<T, Bytes>;
  using V = typename R::Vec;
  V sums[Rows][Vectors];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) sums[r][v] = add ? R::load(out + r * out_stride + v * R::lanes) : V{};
  for (int64_t piece = 0; piece < inner.pieces; ++piece) {
    for (int64_t k = 0; k < inner.length; ++k) {
      V row[Vectors];
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) row[v] = R::load(b + k * b_stride + v * R::lanes);
#pragma GCC unroll 12
      for (int r = 0; r < Rows; ++r) {
        const V factor = V{} + (A == Kept::rows ? a[r * a_stride + k] : a[k * a_stride + r]);
#pragma GCC unroll 8
        for (int v = 0; v < Vectors; ++v) sums[r][v] += factor * row[v];
      }
    }
    a += A == Kept::rows ? inner.step : inner.step * a_stride;
    b += inner.length * b_stride;
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) R::store(out + r * out_stride + v * R::lanes, sums[r][v]);
}

template <class T, int Bytes, int Vectors, Kept A>
void product_strip(const T* a, int64_t a_stride, int64_t rows, Inner inner, const T* b, int64_t b_stride, T* out,
                   int64_t out_stride, bool add) {
  constexpr int most = tile_rows(Vectors);
  const int64_t a_row = A == Kept::rows ? a_stride : 1;
  int64_t r = 0;
  for (; r + most <= rows; r += most)
    tile<T, Bytes, most, Vectors, A>(a + r * a_row, a_stride, inner, b, b_stride, out + r * out_stride, out_stride,
                                     add);
  for (; r + 2 <= rows; r += 2)
    tile<T, Bytes, 2, Vectors, A>(a + r * a_row, a_stride, inner, b, b_stride, out + r * out_stride, out_stride, add);
  if (r < rows)
    tile<T, Bytes, 1, Vectors, A>(a + r * a_row, a_stride, inner, b, b_stride, out + r * out_stride, out_stride, add);
}

// As many whole registers as there are; strips of b are short enough to stay in the first cache while all rows pass.
template <class T, int Bytes, Kept A>
SO3K_INLINE void product_of_registers(const T* a, int64_t a_stride, int64_t rows, Inner inner, const T* b,
                                      int64_t b_stride, int64_t vectors, T* out, int64_t out_stride, bool add) {
  while (vectors > 0) {
    // Four registers make the best tile; else equal strips rather than full ones and a rest.
    const int64_t strips = (vectors + kTileVectors - 1) / kTileVectors;
    const int64_t width = vectors % 4 == 0 && kTileVectors >= 4 ? 4 : (vectors + strips - 1) / strips;
    switch (width) {
      case 1: product_strip<T, Bytes, 1, A>(a, a_stride, rows, inner, b, b_stride, out, out_stride, add); break;
      case 2: product_strip<T, Bytes, 2, A>(a, a_stride, rows, inner, b, b_stride, out, out_stride, add); break;
      case 3: product_strip<T, Bytes, 3, A>(a, a_stride, rows, inner, b, b_stride, out, out_stride, add); break;
#if SO3K_REGISTERS >= 32
      case 4: product_strip<T, Bytes, 4, A>(a, a_stride, rows, inner, b, b_stride, out, out_stride, add); break;
      case 5: product_strip<T, Bytes, 5, A>(a, a_stride, rows, inner, b, b_stride, out, out_stride, add); break;
      case 6: product_strip<T, Bytes, 6, A>(a, a_stride, rows, inner, b, b_stride, out, out_stride, add); break;
#endif
    }
    b += width * Register<T, Bytes>::lanes;
    out += width * Register<T, Bytes>::lanes;
    vectors -= width;
  }
}

// out (rows, columns) = or += a (rows, inner) · b (inner, columns); columns a multiple of the lanes.
template <class T, Kept A = Kept::rows>
void product(const T* a, int64_t a_stride, int64_t rows, Inner inner, const T* b, int64_t b_stride, int64_t columns,
             T* out, int64_t out_stride, bool add) {
  constexpr int64_t wide = Register<T, SO3K_WIDE_BYTES>::lanes;
  const int64_t whole = columns / wide * wide;
  product_of_registers<T, SO3K_WIDE_BYTES, A>(a, a_stride, rows, inner, b, b_stride, columns / wide, out, out_stride,
                                              add);
  if constexpr (SO3K_WIDE_BYTES > SO3K_BYTES)
    product_of_registers<T, SO3K_BYTES, A>(a, a_stride, rows, inner, b + whole, b_stride,
                                           (columns - whole) / Simd<T>::lanes, out + whole, out_stride, add);
}

}  // namespace SO3K_VARIANT
}  // namespace so3krates
