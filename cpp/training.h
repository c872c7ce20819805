// What a layer computes of its pairs where forces are trained on, as plain arrays: the interface between the FFI calls
// and the compiled variants. From basis functions and invariants to filters, from these with queries and keys to
// attention scores, from these with values and spherical harmonics to messages; the derivative; and those of both.
//
// Arrays in rows, no gaps, unless a dimension is called padded. The two filters of a layer, for f and for x, are
// computed together; hidden columns are those of the radial network, then those of the spherical one, each padded to
// whole registers. An atom has a row for f and one for x, in chunks, each of which has its query and then its key.
//
// In a first layer whose atoms are all alike but for their kind, a score is a product of the hidden layer with a vector
// that the two kinds decide: these vectors take the place of matrices behind the hidden layer, and of rows and filters.
#pragma once

#include <cstdint>

#include "network.h"

namespace so3krates {

constexpr int kFilters = 2;
constexpr int kDirections = 2;       // of a pair
constexpr int64_t kTrainBlock = 48;  // pairs: whole tiles of the products

struct TrainShape {
  int64_t atoms, pairs, functions, invariants, radial, spherical, features, heads, parts;
  int64_t kinds;  // of atoms; 0 where atoms have rows
  int degrees_count;
  int degrees[kMaxDegrees];
  double scale_f, scale_x;
  // What follows is derived, by `completed`.
  int64_t padded_functions, padded_invariants, padded_radial, padded_spherical, hidden, columns, orders;
  int64_t row;   // of an atom, one of both; 0 where there are kinds
  int64_t sums;  // of an atom: rows for f and for x, values, f, x

  SO3K_EVERYWHERE int64_t first(int64_t part) const { return pairs * part / parts; }
  SO3K_EVERYWHERE int64_t chunks() const { return heads + degrees_count; }
  SO3K_EVERYWHERE int64_t chunks_of(int filter) const { return filter == 0 ? heads : degrees_count; }
};

static inline TrainShape completed(TrainShape s, int64_t lanes) {
  s.padded_functions = padded(s.functions, lanes);
  s.padded_invariants = padded(s.invariants, lanes);
  s.padded_radial = padded(s.radial, lanes);
  s.padded_spherical = padded(s.spherical, lanes);
  s.hidden = s.padded_radial + s.padded_spherical;
  s.columns = padded(s.features, lanes);
  s.orders = 0;
  for (int d = 0; d < s.degrees_count; ++d) s.orders += 2 * s.degrees[d] + 1;
  s.row = s.kinds > 0 ? 0 : 2 * s.features;
  s.sums = kFilters * s.row + 2 * s.features + s.orders;
  return s;
}

// The matrices and biases of a filter, w = out_bias + radial_out silu(radial_in b + radial_bias) + the same of a
// spherical network in s. Where there are kinds, radial_out has a row for each two of them and each chunk, and out_bias
// a number.
enum Parameter {
  radial_in,
  radial_bias,
  spherical_in,
  spherical_bias,
  radial_out,
  spherical_out,
  out_bias,
  kParameters
};

struct Size {
  int64_t rows, columns, padded_columns;
  bool bias;

  SO3K_EVERYWHERE int64_t count() const { return rows * columns; }
  SO3K_EVERYWHERE int64_t padded_count() const { return rows * padded_columns; }
};

static inline Size size_of(const TrainShape& s, int filter, int parameter) {
  const int64_t vectors = s.kinds * s.kinds * s.chunks_of(filter);
  if (s.kinds > 0 && parameter == radial_out) return {vectors, s.radial, s.padded_radial, false};
  if (s.kinds > 0 && parameter == out_bias) return {1, vectors, vectors, true};
  const Size sizes[kParameters] = {{s.functions, s.radial, s.padded_radial, false},
                                   {1, s.radial, s.padded_radial, true},
                                   {s.invariants, s.spherical, s.padded_spherical, false},
                                   {1, s.spherical, s.padded_spherical, true},
                                   {s.radial, s.features, s.columns, false},
                                   {s.spherical, s.features, s.columns, false},
                                   {1, s.features, s.columns, true}};
  return sizes[parameter];
}

// A filter's parameters with padded rows; matrices also turned.
template <class T>
struct PackedFilter {
  T* parameters[kParameters];
  T* radial_in_turned;     // radial, padded_functions
  T* spherical_in_turned;  // spherical, padded_invariants
  T* out_turned;           // features, hidden
};

// Memory of one part of the pairs.
template <class T>
struct TrainScratch {
  T* sums[kFilters][kParameters];  // padded: derivatives with respect to the parameters
  T* atoms;                        // atoms, sums
  int64_t lowest, beyond;          // atoms that its pairs touch; the others' rows hold nothing
  T *hidden, *more_hidden;         // kTrainBlock, hidden
  T* values;                       // kTrainBlock, columns
  // What multiplies derivatives, in `second`. Of filters: kTrainBlock, 2 filters, columns. By kinds of scores:
  // kTrainBlock, 2 directions, chunks.
  T* factors;
  T *functions, *invariants;  // kTrainBlock, padded_functions and padded_invariants
};

// Arrays of the four steps. Of what a step does not have, the pointers are null; where there are kinds, rows and
// filters are empty. "Factors" are what multiplies the results of `back` where it is differentiated in turn; "more" are
// further derivatives of what was kept.
template <class T>
struct TrainCall {
  TrainShape s;
  const int32_t *centers, *others;                   // pairs
  const int32_t* kind;                               // atoms; nothing where atoms have rows
  const T *phi, *harmonics;                          // pairs; pairs, orders
  const T *phi_factors, *harmonics_factors;          // likewise
  const T *functions, *invariants;                   // pairs, functions; pairs, invariants; in `second` their factors
  const T *rows[kFilters], *rows_factors[kFilters];  // atoms, chunks, 2, width
  const T *carried, *carried_factors;                // atoms, features: the values of atoms that messages carry
  const T *f_back, *x_back;                          // atoms, features; atoms, orders: derivatives by the messages
  const T* parameters[kFilters][kParameters];
  const T* scores_more;  // 2, pairs, chunks
  const T* values_more;  // pairs, 2, features
  const T* hidden_more;  // pairs, 2, hidden
  T *f, *x;              // atoms, features; atoms, orders: messages, or their derivatives
  T* scores;             // 2, pairs, chunks: to the centers, to the others; without φ and 1/c
  T* values;             // pairs, 2, features: the filters
  T *hidden, *gate;      // pairs, 2, hidden: before SiLU, and its logistic function
  T* scores_back;        // 2, pairs, chunks: derivatives by the scores
  T* values_back;        // pairs, 2, features: by the filters
  T* leaving;            // pairs, 2, hidden: by what leaves the hidden layers
  T *phi_out, *harmonics_out, *functions_out, *invariants_out, *rows_out[kFilters], *carried_out;
  T *scores_out, *values_out, *hidden_out;  // of `second`
  T* derivatives[kFilters][kParameters];
  PackedFilter<T> packed[kFilters];
  TrainScratch<T>* scratch;
};

// Memory of what the way forward packs for all steps, and scratch memory of a step; without memory they only count.
template <class T>
int64_t lay_out_packed(TrainCall<T>& call, void* memory) {
  const TrainShape& s = call.s;
  Arena arena(memory);
  for (int filter = 0; filter < kFilters; ++filter) {
    PackedFilter<T>& packed = call.packed[filter];
    for (int n = 0; n < kParameters; ++n) arena.take(packed.parameters[n], size_of(s, filter, n).padded_count());
    arena.take(packed.radial_in_turned, s.radial * s.padded_functions);
    arena.take(packed.spherical_in_turned, s.spherical * s.padded_invariants);
    arena.take(packed.out_turned, s.kinds > 0 ? 0 : s.features * s.hidden);
  }
  return arena.bytes();
}

template <class T>
int64_t lay_out_scratch(TrainCall<T>& call, void* memory) {
  const TrainShape& s = call.s;
  Arena arena(memory);
  arena.take(call.scratch, s.parts);
  for (int64_t part = 0; part < s.parts; ++part) {
    TrainScratch<T> own{};
    for (int filter = 0; filter < kFilters; ++filter)
      for (int n = 0; n < kParameters; ++n) arena.take(own.sums[filter][n], size_of(s, filter, n).padded_count());
    arena.take(own.atoms, s.atoms * s.sums);
    for (T** each : {&own.hidden, &own.more_hidden}) arena.take(*each, kTrainBlock * s.hidden);
    arena.take(own.values, kTrainBlock * s.columns);
    arena.take(own.factors, kTrainBlock * (s.kinds > 0 ? kDirections * s.chunks() : kFilters * s.columns));
    arena.take(own.functions, kTrainBlock * s.padded_functions);
    arena.take(own.invariants, kTrainBlock * s.padded_invariants);
    if (memory != nullptr) call.scratch[part] = own;
  }
  return arena.bytes();
}

enum class TrainStep { forward, back, second, weights };

template <class T>
struct TrainStages {
  // Filter `n`: its parameters as the products need them.
  void (*pack)(const TrainCall<T>&, int64_t n);
  // A part of the pairs.
  //   forward: from phi, harmonics, functions, invariants, rows and carried to f and x; keeps scores, values, hidden
  //     and gate.
  //   back: from f_back and x_back to what is called out; keeps scores_back, values_back and leaving.
  //   second: the derivative of `back`, from factors to all but phi and harmonics: f and x for f_back and x_back.
  //   weights: the derivative of `forward`, but by phi, harmonics and functions.
  void (*run)(const TrainCall<T>&, TrainStep, int64_t part);
  // Sums of all parts: of the parameters of filter `n`, and of some atoms.
  void (*collect_parameters)(const TrainCall<T>&, int64_t n);
  void (*collect_atoms)(const TrainCall<T>&, int64_t first, int64_t last);
};

}  // namespace so3krates
