// Pairs where forces are trained on, for one instruction set; compiled once for each with other flags (CMakeLists.txt).
#include "trained_filters.h"
#include "trained_scores.h"

namespace so3krates {
namespace SO3K_VARIANT {
namespace {

template <class T>
void turned(const Size& size, const T* from, T* to, int64_t stride) {
  for (int64_t row = 0; row < size.rows; ++row)
    for (int64_t column = 0; column < size.columns; ++column)
      to[column * stride + row] = from[row * size.columns + column];
}

template <class T>
void pack(const TrainCall<T>& call, int64_t n) {
  const TrainShape& s = call.s;
  const PackedFilter<T>& packed = call.packed[n];
  const T* const* from = call.parameters[n];
  const auto size_of_own = [&](int parameter) { return size_of(s, static_cast<int>(n), parameter); };
  for (int parameter = 0; parameter < kParameters; ++parameter) {
    const Size size = size_of_own(parameter);
    if (size.count() == 0) continue;
    for (int64_t row = 0; row < size.rows; ++row) {
      T* const out = packed.parameters[parameter] + row * size.padded_columns;
      std::memcpy(out, from[parameter] + row * size.columns, sizeof(T) * size.columns);
      clear(out + size.columns, size.padded_columns - size.columns);
    }
  }
  clear(packed.radial_in_turned, s.radial * s.padded_functions);
  turned(size_of_own(radial_in), from[radial_in], packed.radial_in_turned, s.padded_functions);
  if (s.kinds > 0) return;
  clear(packed.out_turned, s.features * s.hidden);
  turned(size_of_own(radial_out), from[radial_out], packed.out_turned, s.hidden);
  turned(size_of_own(spherical_out), from[spherical_out], packed.out_turned + s.padded_radial, s.hidden);
  clear(packed.spherical_in_turned, s.spherical * s.padded_invariants);
  turned(size_of_own(spherical_in), from[spherical_in], packed.spherical_in_turned, s.padded_invariants);
}

// The atoms that a part of the pairs touches.
template <class T>
void find_range(const TrainCall<T>& call, int64_t part) {
  TrainScratch<T>& own = call.scratch[part];
  own.lowest = call.s.atoms;
  own.beyond = 0;
  const auto include = [&own](int64_t atom) {
    if (atom < own.lowest) own.lowest = atom;
    if (atom >= own.beyond) own.beyond = atom + 1;
  };
  for (int64_t p = call.s.first(part); p < call.s.first(part + 1); ++p) {
    include(call.centers[p]);
    include(call.others[p]);
  }
  if (own.beyond == 0) own.lowest = 0;
}

// Scores before filters on the way back, a block after the other.
template <class T, bool ByKind>
void run_part(const TrainCall<T>& call, TrainStep step, int64_t part) {
  const TrainShape& s = call.s;
  find_range(call, part);
  const TrainScratch<T>& own = call.scratch[part];
  clear(own.atoms + own.lowest * s.sums, (own.beyond - own.lowest) * s.sums);
  TrainedFilters<T, ByKind> filters(call, part);
  TrainedScores<T, ByKind> scores(call, part);
  if (s.first(part) == s.first(part + 1)) filters.clear_sums();
  for (int64_t first = s.first(part), end = s.first(part + 1); first < end; first += kTrainBlock) {
    const int64_t last = first + kTrainBlock < end ? first + kTrainBlock : end;
    filters.choose(first, last - first, first > s.first(part));
    if (step == TrainStep::back || step == TrainStep::weights) scores.back(first, last);
    for (int n = 0; n < kFilters; ++n) switch (step) {
        case TrainStep::forward: filters.forward(n); break;
        case TrainStep::back: filters.back(n); break;
        case TrainStep::second: filters.second(n); break;
        case TrainStep::weights: filters.weights(n); break;
      }
    if (step == TrainStep::forward) scores.forward(first, last);
    if (step == TrainStep::second) scores.second(first, last);
  }
}

template <class T>
void run(const TrainCall<T>& call, TrainStep step, int64_t part) {
  if (call.s.kinds > 0)
    run_part<T, true>(call, step, part);
  else
    run_part<T, false>(call, step, part);
}

template <class T>
void add_to(const T* from, int64_t count, T* to) {
  for (int64_t n = 0; n < count; ++n) to[n] += from[n];
}

template <class T>
void collect_parameters(const TrainCall<T>& call, int64_t n) {
  for (int parameter = 0; parameter < kParameters; ++parameter) {
    T* const out = call.derivatives[n][parameter];
    if (out == nullptr) continue;
    const Size size = size_of(call.s, static_cast<int>(n), parameter);
    if (size.count() == 0) continue;
    for (int64_t row = 0; row < size.rows; ++row) {
      T* const to = out + row * size.columns;
      const auto of = [&](int64_t part) { return call.scratch[part].sums[n][parameter] + row * size.padded_columns; };
      std::memcpy(to, of(0), sizeof(T) * size.columns);
      for (int64_t part = 1; part < call.s.parts; ++part) add_to(of(part), size.columns, to);
    }
  }
}

template <class T>
void collect_atoms(const TrainCall<T>& call, int64_t first, int64_t last) {
  const TrainShape& s = call.s;
  const struct {
    T* out;
    int64_t start, count;
  } wanted[] = {{call.rows_out[0], 0, s.row},
                {call.rows_out[1], s.row, s.row},
                {call.carried_out, 2 * s.row, s.features},
                {call.f, 2 * s.row + s.features, s.features},
                {call.x, 2 * s.row + 2 * s.features, s.orders}};
  for (const auto& each : wanted) {
    if (each.out == nullptr) continue;
    for (int64_t atom = first; atom < last; ++atom) {
      T* const to = each.out + atom * each.count;
      clear(to, each.count);
      for (int64_t part = 0; part < s.parts; ++part) {
        const TrainScratch<T>& own = call.scratch[part];
        if (atom >= own.lowest && atom < own.beyond) add_to(own.atoms + atom * s.sums + each.start, each.count, to);
      }
    }
  }
}

template <class T>
constexpr TrainStages<T> stages() {
  return {pack<T>, run<T>, collect_parameters<T>, collect_atoms<T>};
}

}  // namespace

extern const TrainStages<float> train_single;
const TrainStages<float> train_single = stages<float>();
extern const TrainStages<double> train_twofold;
const TrainStages<double> train_twofold = stages<double>();

}  // namespace SO3K_VARIANT
}  // namespace so3krates
