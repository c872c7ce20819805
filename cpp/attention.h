// What one attention layer computes, as plain arrays: the interface between the FFI calls and the compiled variants.
//
// Columns of pairs and atoms come in chunks, one per head for f, one per degree for x, each padded with zeros to whole
// registers: `columns_f` = heads · padded head width, `columns_x` = degrees · padded chunk width, queries and keys have
// both. Rows of an atom: query | key | value | x, then what is summed up has the same layout.
#pragma once

#include <cstdint>

namespace so3krates {

constexpr int kMaxDegrees = 8;
constexpr int kMaxDegree = 6;
constexpr int kMaxParts = 16;

struct Shape {
  int64_t atoms, pairs, features, heads, intervals, hidden;
  int degrees_count;
  int degrees[kMaxDegrees];
  double scale_f, scale_x, cutoff, bend;  // bend: r₀ of the variable u = r/(r + r₀) of the tables
  bool has_x;
  int64_t parts;  // of the pairs; each is worked on by one thread and has sums of its own
  int64_t starts[kMaxParts + 1];  // of the parts: as many pairs that are no padding in each
  // What follows is derived, by `completed`.
  int64_t head_width, chunk_width, padded_head, padded_chunk, padded_hidden, orders, padded_orders;
  int64_t columns_f, columns_x, columns, row;
};

// Every pointer is an array in rows, no gaps. Names of dimensions as in Shape.
template <class T>
struct Inputs {
  const T* f;            // atoms, features
  const T* x;            // atoms, orders
  const T* vectors;      // pairs, 3
  const int32_t* centers;
  const int32_t* others;
  const bool* mask;
  const T* cutoff;       // intervals + 1, 2: φ and its slope
  const T* radial;       // intervals + 1, 2, columns: filters of distance and their slopes
  const T* inner;        // degrees + 1, 2, padded_hidden: weights and, last, biases of the hidden layers for f and x
  const T* outer;        // hidden, columns
  const T* outer_back;   // 2, features, padded_hidden: the transpose
  const T* project_f;    // 3, features, padded_head: query, key, value; a row for every input
  const T* project_x;    // 2, features, padded_chunk: query, key
  const T* back_f;       // as project_f, transposed: a row for every output
  const T* back_x;
};

template <class T>
struct Forward {
  T* delta_f;  // atoms, features
  T* delta_x;  // atoms, orders
  T* rows;     // atoms, row: query | key | value | x
  T* sums;     // parts, atoms, columns_f + padded_orders
};

template <class T>
struct Backward {
  const T* rows;
  const T* cotangent_f;  // atoms, features
  const T* cotangent_x;  // atoms, orders
  T* f;                  // atoms, features
  T* x;                  // atoms, orders
  T* vectors;            // pairs, 3
  T* received;           // atoms, columns_f + padded_orders: the cotangents, padded
  T* sums;               // parts, atoms, row
};

template <class T>
struct Stages {
  // Atoms from `first` to `last`, or one part of the pairs; the order in which they are called is that in which they
  // stand here, and all of a stage must be done before the next begins.
  void (*project)(const Shape&, const Inputs<T>&, const Forward<T>&, int64_t first, int64_t last);
  void (*attend)(const Shape&, const Inputs<T>&, const Forward<T>&, int64_t part);
  void (*collect)(const Shape&, const Inputs<T>&, const Forward<T>&, int64_t first, int64_t last);
  void (*receive)(const Shape&, const Inputs<T>&, const Backward<T>&, int64_t first, int64_t last);
  void (*attend_back)(const Shape&, const Inputs<T>&, const Backward<T>&, int64_t part);
  void (*collect_back)(const Shape&, const Inputs<T>&, const Backward<T>&, int64_t first, int64_t last);
};

struct Variant {
  const char* name;
  int bytes;  // of a register
  Stages<float> single;
  Stages<double> twofold;
};

static inline int64_t padded(int64_t count, int64_t lanes) { return (count + lanes - 1) / lanes * lanes; }

static inline Shape completed(Shape s, int64_t lanes) {
  s.head_width = s.features / s.heads;
  s.chunk_width = s.features / s.degrees_count;
  s.padded_head = padded(s.head_width, lanes);
  s.padded_chunk = padded(s.chunk_width, lanes);
  s.padded_hidden = padded(s.hidden, lanes);
  s.orders = 0;
  for (int n = 0; n < s.degrees_count; ++n) s.orders += 2 * s.degrees[n] + 1;
  s.padded_orders = padded(s.orders, lanes);
  s.columns_f = s.heads * s.padded_head;
  s.columns_x = s.degrees_count * s.padded_chunk;
  s.columns = s.columns_f + s.columns_x;
  s.row = 2 * s.columns + s.columns_f + s.padded_orders;
  return s;
}

// Where to cut the pairs so that every part has the same number of true flags.
static inline void cut(Shape& s, const bool* mask) {
  int64_t all = 0;
  for (int64_t n = 0; n < s.pairs; ++n) all += mask[n];
  int64_t part = 0, seen = 0;
  for (int64_t n = 0; n < s.pairs && part < s.parts; ++n) {
    while (part < s.parts && seen >= all * part / s.parts) s.starts[part++] = n;
    seen += mask[n];
  }
  while (part <= s.parts) s.starts[part++] = s.pairs;
}

}  // namespace so3krates
