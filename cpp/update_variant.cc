// Steps of the optimiser for one instruction set; compiled once for each with other flags (CMakeLists.txt).
#include "simd.h"
#include "update.h"

namespace so3krates {
namespace SO3K_VARIANT {
namespace {

// By the compiler itself: functions of the library could be left out of line, and then serve every instruction set.
SO3K_INLINE float sqrt_of(float x) { return __builtin_sqrtf(x); }
SO3K_INLINE double sqrt_of(double x) { return __builtin_sqrt(x); }

template <class T, bool KeepsLargest>
void update(const UpdateShape& s, const UpdateStep<T>& step, const UpdateArrays<T>& a, int64_t from, int64_t to) {
  const T first_decay = static_cast<T>(s.first_decay), second_decay = static_cast<T>(s.second_decay);
  const T first_share = static_cast<T>(1 - s.first_decay), second_share = static_cast<T>(1 - s.second_decay);
  const T epsilon = static_cast<T>(s.epsilon);
  // Results stand where their old values stood, or elsewhere, but never a place further.
#pragma GCC ivdep
  for (int64_t n = from; n < to; ++n) {
    const T gradient = a.gradient[n] * step.clip, parameter = a.parameters[n];
    const T first = first_decay * a.first[n] + first_share * gradient;
    const T second = second_decay * a.second[n] + second_share * (gradient * gradient);
    T size = second * step.second;
    if constexpr (KeepsLargest) {
      size = a.largest[n] > size ? a.largest[n] : size;
      a.new_largest[n] = size;
    }
    const T change = first * step.first / (sqrt_of(size) + epsilon) + step.weight_decay * parameter;
    const T changed = parameter - step.rate * change, average = a.average[n];
    a.new_first[n] = first;
    a.new_second[n] = second;
    a.new_parameters[n] = changed;
    a.new_average[n] = average + step.average * (changed - average);
  }
}

template <class T>
void run(const UpdateShape& s, const UpdateStep<T>& step, const UpdateArrays<T>& arrays, int64_t from, int64_t to) {
  if (s.keeps_largest)
    update<T, true>(s, step, arrays, from, to);
  else
    update<T, false>(s, step, arrays, from, to);
}

}  // namespace

extern const UpdateStages<float> update_single;
const UpdateStages<float> update_single = {run<float>};
extern const UpdateStages<double> update_twofold;
const UpdateStages<double> update_twofold = {run<double>};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
