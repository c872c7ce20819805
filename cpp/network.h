// What the layers of the network compute, as plain arrays: the interface between the FFI calls and the compiled
// variants.
//
// Columns of pairs and atoms: those for f, then those for x (values have none of these), in chunks, one per head for f,
// one per degree for x, each padded with zeros to whole registers. A row of an atom: query | key | value | x. Arrays of
// features alone have rows of `padded_features`.
#pragma once

#include <cstdint>

namespace so3krates {

// Functions in this file are compiled once for each instruction set under one name: none may be left out of line.
#define SO3K_EVERYWHERE inline __attribute__((always_inline))

constexpr int kMaxDegrees = 8;
constexpr int kMaxDegree = 6;
constexpr int kMaxParts = 16;
constexpr int kMaxTypes = 8;      // of atoms, see first_layer.h
constexpr int kRoom = 32;         // spare entries behind the pairs of a part: what fills the last register
constexpr int64_t kGuide = 1024;  // how finely the knots are indexed
constexpr int kNormRows = 4;      // scale and shift after attention, scale and shift after exchange

// Columns for f, or for x.
struct Half {
  int64_t chunks, width, padded_width;  // of a chunk
  int64_t start, columns;

  // First column of a chunk.
  SO3K_EVERYWHERE int64_t at(int64_t chunk) const { return start + chunk * padded_width; }
};

struct Shape {
  int64_t atoms, pairs, features, layers, heads, intervals, hidden, parts;
  int degrees_count;
  int degrees[kMaxDegrees];
  double scale_f, scale_x, cutoff, epsilon;
  bool starts_at_zero, attention_norm, residual, exchange_norm;
  // What follows is derived, by `completed`.
  Half f, x;
  int64_t padded_hidden, hidden_row, padded_features, padded_degrees, orders, padded_orders, columns, row, message,
      exchange;
  int64_t chunks;  // heads, then degrees
  int64_t padded_chunks;
  int64_t scores;     // of a pair: chunks to the center, chunks to the other atom, padding
  int64_t all_pairs;  // of all parts, with the room behind each
};

// Parameters; all layers in one array each, the layer first. No gaps. Names of dimensions as in Shape.
template <class T>
struct Inputs {
  const T* f;        // atoms, features
  const T* x;        // atoms, orders; nothing where all are zero
  const T* vectors;  // pairs, 3
  const int32_t* centers;
  const int32_t* others;
  const bool* mask;
  const T* knots;       // intervals + 1: from 0 to the cutoff
  const T* cutoff;      // intervals + 1, 2: φ and its slope
  const T* radial;      // intervals + 1, 2, columns: filters of distance and their slopes
  const T* inner;       // degrees + 1, hidden_row: weights and, last, biases of the hidden layers for f, then x
  const T* outer;       // hidden, columns
  const T* outer_back;  // 2, features, padded_hidden: the transpose
  const T* project_f;   // 3, features, padded_width: query, key, value; a row for every input
  const T* project_x;   // 2, features, padded_width: query, key
  const T* back_f;      // 3, features, padded_width: the transpose, a row for every output
  const T* back_x;
  const T* norms;          // kNormRows, padded_features; nothing without norms
  const T* residual;       // 2, features + 1, padded_features: rows of inputs and, last, biases; nothing without
  const T* residual_back;  // 2, features, padded_features: the transpose
  const T* exchange;       // features + degrees + 1, exchange: rows of inputs and, last, biases
  const T* exchange_back;  // features + degrees, exchange: the transpose

  // Those of one layer.
  SO3K_EVERYWHERE Inputs of_layer(const Shape& s, int64_t layer) const {
    Inputs own = *this;
    own.radial += layer * (s.intervals + 1) * 2 * s.columns;
    own.inner += layer * (s.degrees_count + 1) * s.hidden_row;
    own.outer += layer * s.hidden * s.columns;
    own.outer_back += layer * 2 * s.features * s.padded_hidden;
    own.project_f += layer * 3 * s.features * s.f.padded_width;
    own.project_x += layer * 2 * s.features * s.x.padded_width;
    own.back_f += layer * 3 * s.features * s.f.padded_width;
    own.back_x += layer * 2 * s.features * s.x.padded_width;
    if (s.attention_norm || s.exchange_norm) own.norms += layer * kNormRows * s.padded_features;
    if (s.residual) own.residual += layer * 2 * (s.features + 1) * s.padded_features;
    if (s.residual) own.residual_back += layer * 2 * s.features * s.padded_features;
    own.exchange += layer * (s.features + s.degrees_count + 1) * s.exchange;
    own.exchange_back += layer * (s.features + s.degrees_count) * s.exchange;
    return own;
  }
};

// What one part of the pairs is: `count` pairs within the cutoff from `first` on, in arrays with room behind each part.
struct Part {
  int64_t from, to;  // in the inputs
  int64_t first, count;
  int64_t lowest, beyond;  // atoms that these pairs touch
};

// What the way back needs: made on the way forward.
template <class T>
struct Saved {
  Part* parts;
  T* of_degree;                             // kMaxDegrees, padded_orders: 1 where an order is of that degree
  T* parity;                                // likewise (−1)^l
  T* contraction;                           // kRoom: 1/√(2l+1) of the degrees
  int32_t* guide;                           // kGuide + 1: the last knot that is not beyond that share of the cutoff
  int32_t *center, *other, *origin, *knot;  // all_pairs; origin: where the pair stands in the inputs
  T *x, *y, *z, *inverse;                   // unit vectors and 1/r
  T *position, *stretch;  // between two knots, 0 to 1, and its derivative with respect to r: one over their distance
  T *phi, *phi_slope;
  T* harmonics;  // all_pairs, padded_orders
  T* scores;     // layers, all_pairs, scores: coefficients without φ
  T* rows;       // layers, atoms, row
  T* attended;   // layers, atoms, padded_features: f after the skip
  T* hidden;     // likewise: inside the residual network
  T* exchanged;  // likewise: f before the last norm
  T* euclidean;  // layers, atoms, padded_orders: x before the exchange
  T* gates;      // layers, atoms, padded_degrees
};

// What the features at the start decide, see first_layer.h: made in a call of its own, since it stays the same while
// atoms move. Without memory where Euclidean variables do not start at zero.
template <class T>
struct Types {
  int64_t* count;  // of types; 0 where there are too many to make use of
  int64_t* first;  // kMaxTypes: an atom of each
  int32_t* type;   // atoms
  T* rows;         // kMaxTypes, row
  T* products;     // columns, kMaxTypes²: queries times keys of all pairs of types
  T* tables;       // kMaxTypes², intervals + 1, 2, padded_chunks: scores that one type receives from another
};

template <class T>
struct Scratch {
  T* f;          // atoms, padded_features; on the way back its cotangent
  T* x;          // atoms, padded_orders; likewise
  T* sums;       // parts, atoms, message or (back) row
  T* received;   // back: atoms, message: cotangents of the messages
  T* harmonics;  // back: all_pairs, padded_orders: cotangents
  T* radial;     // back: all_pairs: ∂E/∂r
};

// One call: of types, forward or back.
template <class T>
struct Call {
  Shape s;
  Inputs<T> in;
  Types<T> types;
  Saved<T> saved;
  Scratch<T> scratch;
  T *f, *x, *vectors;                  // results; back: f is none
  const T *cotangent_f, *cotangent_x;  // back

  // Whether the first layer works with types.
  SO3K_EVERYWHERE bool by_type() const { return s.starts_at_zero && *types.count > 0; }
};

// Stages of a call in the order in which they are made; all of a stage must be done before the next begins. Of atoms or
// knots from `first` to `last`, of one part of the pairs, or of all.
template <class T>
struct Stages {
  bool (*find_types)(const Call<T>&, const bool* atom_mask);  // whether they can be made use of
  void (*make_tables)(const Call<T>&, int64_t first, int64_t last);

  void (*prepare)(const Call<T>&);
  void (*measure)(const Call<T>&, int64_t part);
  void (*begin)(const Call<T>&, int64_t first, int64_t last);
  void (*attend)(const Call<T>&, int64_t layer, int64_t part);
  void (*update)(const Call<T>&, int64_t layer, int64_t first, int64_t last);

  void (*receive)(const Call<T>&, int64_t first, int64_t last);
  void (*attend_back)(const Call<T>&, int64_t layer, int64_t part);  // that of the first layer gives the vectors'
  void (*update_back)(const Call<T>&, int64_t layer, int64_t first, int64_t last);
};

static inline int64_t padded(int64_t count, int64_t lanes) { return (count + lanes - 1) / lanes * lanes; }

static inline Half half(int64_t features, int64_t chunks, int64_t start, int64_t lanes) {
  const int64_t width = features / chunks, padded_width = padded(width, lanes);
  return {chunks, width, padded_width, start, chunks * padded_width};
}

static inline Shape completed(Shape s, int64_t lanes) {
  s.f = half(s.features, s.heads, 0, lanes);
  s.x = half(s.features, s.degrees_count, s.f.columns, lanes);
  s.padded_hidden = padded(s.hidden, lanes);
  s.hidden_row = padded(2 * s.hidden, lanes);
  s.padded_features = padded(s.features, lanes);
  s.padded_degrees = padded(s.degrees_count, lanes);
  s.orders = 0;
  for (int n = 0; n < s.degrees_count; ++n) s.orders += 2 * s.degrees[n] + 1;
  s.padded_orders = padded(s.orders, lanes);
  s.columns = s.f.columns + s.x.columns;
  s.row = 2 * s.columns + s.f.columns + s.padded_orders;
  s.exchange = s.padded_features + s.padded_degrees;
  s.chunks = s.heads + s.degrees_count;
  s.padded_chunks = padded(s.chunks, lanes);
  s.scores = padded(s.chunks + s.padded_chunks, lanes);
  // Messages of the first layer may be sums over types.
  const int64_t by_type = s.starts_at_zero ? kMaxTypes * s.padded_chunks : 0;
  s.message = (by_type > s.f.columns ? by_type : s.f.columns) + s.padded_orders;
  s.all_pairs = s.pairs + s.parts * kRoom;
  return s;
}

// Cuts memory into arrays; without memory it only counts.
class Arena {
 public:
  explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <class A>
  void take(A*& array, int64_t count) {
    array = memory_ == nullptr ? nullptr : reinterpret_cast<A*>(memory_ + bytes_);
    bytes_ += padded(count * static_cast<int64_t>(sizeof(A)), 64);
  }

  int64_t bytes() const { return bytes_; }

 private:
  char* memory_;
  int64_t bytes_ = 0;
};

template <class T>
int64_t lay_out(const Shape& s, void* memory, Saved<T>& saved) {
  Arena arena(memory);
  arena.take(saved.parts, s.parts);
  for (T** each : {&saved.of_degree, &saved.parity}) arena.take(*each, kMaxDegrees * s.padded_orders);
  arena.take(saved.contraction, kRoom);
  arena.take(saved.guide, kGuide + 1);
  for (int32_t** each : {&saved.center, &saved.other, &saved.origin, &saved.knot}) arena.take(*each, s.all_pairs);
  for (T** each :
       {&saved.x, &saved.y, &saved.z, &saved.inverse, &saved.position, &saved.stretch, &saved.phi, &saved.phi_slope})
    arena.take(*each, s.all_pairs);
  arena.take(saved.harmonics, s.all_pairs * s.padded_orders);
  arena.take(saved.scores, s.layers * s.all_pairs * s.scores);
  arena.take(saved.rows, s.layers * s.atoms * s.row);
  arena.take(saved.attended, s.layers * s.atoms * s.padded_features);
  arena.take(saved.hidden, s.residual ? s.layers * s.atoms * s.padded_features : 0);
  arena.take(saved.exchanged, s.exchange_norm ? s.layers * s.atoms * s.padded_features : 0);
  arena.take(saved.euclidean, s.layers * s.atoms * s.padded_orders);
  arena.take(saved.gates, s.layers * s.atoms * s.padded_degrees);
  return arena.bytes();
}

template <class T>
int64_t lay_out(const Shape& s, void* memory, Types<T>& types) {
  Arena arena(memory);
  if (!s.starts_at_zero) return 0;
  arena.take(types.count, 1);
  arena.take(types.first, kMaxTypes);
  arena.take(types.type, s.atoms);
  arena.take(types.rows, kMaxTypes * s.row);
  arena.take(types.products, s.columns * kMaxTypes * kMaxTypes);
  arena.take(types.tables, kMaxTypes * kMaxTypes * (s.intervals + 1) * 2 * s.padded_chunks);
  return arena.bytes();
}

template <class T>
int64_t lay_out(const Shape& s, void* memory, Scratch<T>& scratch, bool back) {
  Arena arena(memory);
  arena.take(scratch.f, s.atoms * s.padded_features);
  arena.take(scratch.x, s.atoms * s.padded_orders);
  arena.take(scratch.sums, s.parts * s.atoms * (back && s.row > s.message ? s.row : s.message));
  arena.take(scratch.received, back ? s.atoms * s.message : 0);
  arena.take(scratch.harmonics, back ? s.all_pairs * s.padded_orders : 0);
  arena.take(scratch.radial, back ? s.all_pairs : 0);
  return arena.bytes();
}

// Cuts the pairs so that every part has the same number of true flags.
static inline void cut(const Shape& s, const bool* mask, Part* parts) {
  int64_t all = 0;
  for (int64_t n = 0; n < s.pairs; ++n) all += mask[n];
  int64_t part = 0, seen = 0;
  for (int64_t n = 0; n < s.pairs && part < s.parts; ++n) {
    while (part < s.parts && seen >= all * part / s.parts) parts[part++].from = n;
    seen += mask[n];
  }
  while (part < s.parts) parts[part++].from = s.pairs;
  for (part = 0; part < s.parts; ++part) {
    parts[part].to = part + 1 < s.parts ? parts[part + 1].from : s.pairs;
    parts[part].first = parts[part].from + part * kRoom;
  }
}

}  // namespace so3krates
