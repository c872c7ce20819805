// The first layer where Euclidean variables start at zero. Features are then the same for all atoms of a type (an
// element in a structure), and what a pair does depends on two types and a distance: scores are read from one table for
// each pair of types, made of the filters' tables, and values are multiplied once for each atom and type, not for each
// pair. Interpolation is linear in the numbers of a table, so that nothing is lost.
#pragma once

#include "block_back.h"
#include "projections.h"

namespace so3krates {
namespace SO3K_VARIANT {

// Gives every atom its type; counts none where there would be too many. Padding is of no type of its own.
template <class T>
void count_types(const Call<T>& call, const bool* atom_mask) {
  const Shape& s = call.s;
  *call.types.count = 0;
  int64_t* first = call.types.first;
  int64_t count = 0;
  for (int64_t atom = 0; atom < s.atoms; ++atom) {
    call.types.type[atom] = 0;
    if (!atom_mask[atom]) continue;
    const T* own = call.in.f + atom * s.features;
    int64_t type = 0;
    while (type < count && std::memcmp(own, call.in.f + first[type] * s.features, sizeof(T) * s.features) != 0) ++type;
    if (type == count) {
      if (count == kMaxTypes) return;
      first[count++] = atom;
    }
    call.types.type[atom] = static_cast<int32_t>(type);
  }
  *call.types.count = count;
}

SO3K_INLINE int64_t table_length(const Shape& s) { return (s.intervals + 1) * 2 * s.padded_chunks; }

// Scores that the first of two types receives from the second.
template <class T>
SO3K_INLINE T* type_table(const Call<T>& call, int64_t receiver, int64_t sender) {
  return call.types.tables + (receiver * kMaxTypes + sender) * table_length(call.s);
}

// What the filters are multiplied with: for each column q k of all pairs of types.
template <class T>
bool find_types(const Call<T>& call, const bool* atom_mask) {
  const Shape& s = call.s;
  count_types(call, atom_mask);
  const int64_t types = *call.types.count, pairs = types * types, width = padded(pairs, Simd<T>::lanes);
  Buffer<T> f(types * s.features);
  for (int64_t type = 0; type < types; ++type)
    std::memcpy(f + type * s.features, call.in.f + call.types.first[type] * s.features, sizeof(T) * s.features);
  project<T>(s, call.in, f, s.features, types, call.types.rows);
  clear(call.types.products, s.columns * width);
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const T* query = call.types.rows + pair / types * s.row;
    const T* key = call.types.rows + pair % types * s.row + s.columns;
    for (int64_t c = 0; c < s.columns; ++c)
      call.types.products[c * width + pair] =
          query[c] * key[c] * static_cast<T>(c < s.f.columns ? s.scale_f : s.scale_x);
  }
  return types > 0;
}

// Σ over each chunk of q k w at knots, for all pairs of types.
template <class T>
void make_tables(const Call<T>& call, int64_t first, int64_t last) {
  constexpr int lanes = Simd<T>::lanes;
  const Shape& s = call.s;
  const int64_t types = *call.types.count, pairs = types * types, width = padded(pairs, lanes);
  const int64_t lines = 2 * (last - first);
  const T* table = call.in.radial + 2 * first * s.columns;
  Zeros<T> found(s.padded_chunks * lines * width);
  for (int64_t chunk = 0; chunk < s.chunks; ++chunk) {
    const Half& half = chunk < s.heads ? s.f : s.x;
    const int64_t start = half.at(chunk < s.heads ? chunk : chunk - s.heads);
    product<T>(table + start, s.columns, lines, {1, half.width, 0}, call.types.products + start * width, width, width,
               found + chunk * lines * width, width, false);
  }
  for (int64_t line = 0; line < lines; ++line)
    for (int64_t group = 0; group < width; group += lanes)
      for (int64_t chunk = 0; chunk < s.padded_chunks; chunk += lanes) {
        Vec<T> square[lanes];
        for (int n = 0; n < lanes; ++n) square[n] = load(found + ((chunk + n) * lines + line) * width + group);
        transpose<T>(square);
        for (int n = 0; n < lanes && group + n < pairs; ++n)
          store(
              type_table(call, (group + n) / types, (group + n) % types) + (2 * first + line) * s.padded_chunks + chunk,
              square[n]);
      }
}

// Messages: for each atom and type the sum of the coefficients, to be multiplied with the values of the type later.
template <class T>
void attend_types(const Call<T>& call, int64_t number) {
  constexpr int lanes = Simd<T>::lanes;
  const Shape& s = call.s;
  const Saved<T>& of = call.saved;
  const Part& part = of.parts[number];
  const Orders<T> orders(call);
  T* sums = call.scratch.sums + number * s.atoms * s.message;
  Buffer<T> weight(s.scores);
  for (int64_t n = part.first; n < part.first + part.count; ++n) {
    const int64_t i = of.center[n], j = of.other[n], a = call.types.type[i], b = call.types.type[j];
    const int64_t start = 2 * of.knot[n] * s.padded_chunks;
    const T *to_center = type_table(call, a, b) + start, *to_other = type_table(call, b, a) + start;
    const Hermite<T> between = Hermite<T>::values(of.position[n], of.stretch[n]);
    T *score = of.scores + n * s.scores, *sum_i = sums + i * s.message, *sum_j = sums + j * s.message;
    // In this order: padding behind the first is replaced by the second.
    for (int64_t c = 0; c < s.padded_chunks; c += lanes) {
      const Vec<T> own = between.at(to_center + c, s.padded_chunks);
      T* place = sum_i + b * s.padded_chunks + c;
      store(score + c, own);
      store(place, load(place) + of.phi[n] * own);
    }
    for (int64_t c = 0; c < s.padded_chunks; c += lanes) {
      const Vec<T> own = between.at(to_other + c, s.padded_chunks);
      T* place = sum_j + a * s.padded_chunks + c;
      store(score + s.chunks + c, own);
      store(place, load(place) + of.phi[n] * own);
    }
    for (int64_t c = s.chunks + s.padded_chunks; c < s.scores; ++c) score[c] = 0;
    for (int64_t c = 0; c < s.scores; c += lanes) store(weight + c, of.phi[n] * load(score + c));
    send_orders<T>(s, orders, of.harmonics + n * s.padded_orders, weight, sum_i, sum_j);
  }
}

// From sums over types to a row of messages.
template <class T>
void to_messages(const Call<T>& call, const T* sums, T* message) {
  const Half& f = call.s.f;
  clear(message, f.columns);
  for (int64_t type = 0; type < *call.types.count; ++type) {
    const T* own = sums + type * call.s.padded_chunks;
    const T* value = call.types.rows + type * call.s.row + 2 * call.s.columns;
    for (int64_t h = 0; h < f.chunks; ++h)
      for (int64_t c = f.at(h); c < f.at(h + 1); c += Simd<T>::lanes)
        store(message + c, load(message + c) + own[h] * load(value + c));
  }
}

// The transpose: cotangents of the sums over types.
template <class T>
void to_types(const Call<T>& call, const T* message, T* sums) {
  const Half& f = call.s.f;
  clear(sums, kMaxTypes * call.s.padded_chunks);
  for (int64_t type = 0; type < *call.types.count; ++type) {
    const T* value = call.types.rows + type * call.s.row + 2 * call.s.columns;
    for (int64_t h = 0; h < f.chunks; ++h) {
      Vec<T> total{};
      for (int64_t c = f.at(h); c < f.at(h + 1); c += Simd<T>::lanes) total += load(message + c) * load(value + c);
      sums[type * call.s.padded_chunks + h] = sum<T>(total);
    }
  }
}

template <class T>
void attend_types_back(const Call<T>& call, int64_t number) {
  constexpr int lanes = Simd<T>::lanes;
  const Shape& s = call.s;
  const Saved<T>& of = call.saved;
  const Part& part = of.parts[number];
  const Orders<T> orders(call);
  Zeros<T> weight(s.scores), coefficient(s.scores + lanes);
  for (int64_t n = part.first; n < part.first + part.count; ++n) {
    const int64_t i = of.center[n], j = of.other[n], a = call.types.type[i], b = call.types.type[j];
    const T *received_i = call.scratch.received + i * s.message, *received_j = call.scratch.received + j * s.message;
    const T* score = of.scores + n * s.scores;
    for (int64_t c = 0; c < s.scores; c += lanes) store(weight + c, of.phi[n] * load(score + c));
    for (int64_t c = 0; c < s.heads; ++c) {
      coefficient[c] = received_i[b * s.padded_chunks + c];
      coefficient[s.chunks + c] = received_j[a * s.padded_chunks + c];
    }
    receive_orders<T>(s, orders, of.harmonics + n * s.padded_orders, weight, received_i, received_j,
                      call.scratch.harmonics + n * s.padded_orders, coefficient);
    const int64_t start = 2 * of.knot[n] * s.padded_chunks;
    const T *to_center = type_table(call, a, b) + start, *to_other = type_table(call, b, a) + start;
    const Hermite<T> between = Hermite<T>::slopes(of.position[n], of.stretch[n]);
    // Tables are zero in the padding, which keeps out whatever stands there beside them.
    Vec<T> of_cutoff{}, of_scores{};
    for (int64_t c = 0; c < s.padded_chunks; c += lanes)
      of_scores += load(coefficient + c) * between.at(to_center + c, s.padded_chunks) +
                   load(coefficient + s.chunks + c) * between.at(to_other + c, s.padded_chunks);
    for (int64_t c = 0; c < s.scores; c += lanes) of_cutoff += load(coefficient + c) * load(score + c);
    call.scratch.radial[n] += sum<T>(of_cutoff) * of.phi_slope[n] + sum<T>(of_scores) * of.phi[n];
  }
}

}  // namespace SO3K_VARIANT
}  // namespace so3krates
