// From features to queries, keys and values of atoms, and back.
#pragma once

#include "memory.h"
#include "network.h"
#include "products.h"

namespace so3krates {
namespace SO3K_VARIANT {

// Columns (atoms, columns of a half) = f (atoms, features), each chunk times its own matrix.
template <class T>
void by_chunks(const Half& half, const T* f, int64_t stride, int64_t atoms, const T* matrix, T* out,
               int64_t out_stride) {
  const int64_t padded = half.padded_width;
  for (int64_t c = 0; c < half.chunks; ++c)
    product<T>(f + c * half.width, stride, atoms, {1, half.width, 0}, matrix + c * half.width * padded, padded, padded,
               out + half.at(c), out_stride, false);
}

// Queries, keys and values of `count` atoms.
template <class T>
void project(const Shape& s, const Inputs<T>& layer, const T* f, int64_t stride, int64_t count, T* rows) {
  const int64_t places[] = {0, s.columns, 2 * s.columns};
  for (int n = 0; n < 3; ++n)
    by_chunks<T>(s.f, f, stride, count, layer.project_f + n * s.features * s.f.padded_width, rows + places[n], s.row);
  for (int n = 0; n < 2; ++n)
    by_chunks<T>(s.x, f, stride, count, layer.project_x + n * s.features * s.x.padded_width, rows + places[n], s.row);
}

// Adds to cotangents of features what rows of cotangents give.
template <class T>
void project_back(const Shape& s, const Inputs<T>& layer, const T* rows, int64_t count, T* f, int64_t stride) {
  // Chunks of heads and degrees overlap, and their padded results would run into each other: through a buffer.
  const int64_t widest = s.f.padded_width > s.x.padded_width ? s.f.padded_width : s.x.padded_width;
  Buffer<T> chunk(count * widest);
  const int64_t places[] = {0, s.columns, 2 * s.columns};
  for (const Half* half : {&s.f, &s.x}) {
    const int64_t width = half->width, padded = half->padded_width;
    const bool of_f = half == &s.f;
    const T* matrices = of_f ? layer.back_f : layer.back_x;
    for (int64_t c = 0; c < half->chunks; ++c) {
      for (int n = 0; n < (of_f ? 3 : 2); ++n)
        product<T>(rows + places[n] + half->at(c), s.row, count, {1, width, 0},
                   matrices + (n * s.features + c * width) * padded, padded, padded, chunk, padded, n > 0);
      for (int64_t atom = 0; atom < count; ++atom)
        for (int64_t k = 0; k < width; ++k) f[atom * stride + c * width + k] += chunk[atom * padded + k];
    }
  }
}

}  // namespace SO3K_VARIANT
}  // namespace so3krates
