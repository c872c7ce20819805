// One step of Adam or AMSGrad and of the parameters' moving average, as plain arrays: a single pass over memory.
#pragma once

#include <cstdint>

namespace so3krates {

struct UpdateShape {
  bool keeps_largest;  // AMSGrad: the largest second moment so far takes the place of the second moment
  double first_decay, second_decay, epsilon;
};

// Numbers of this step, in the order in which `fused_update.py` has them.
template <class T>
struct UpdateStep {
  T clip;           // what gradients are multiplied by
  T rate;           // learning rate
  T first, second;  // bias corrections: what moments are multiplied by
  T weight_decay;
  T average;  // weight of the new parameters in their average
};

// All of one length. Results may be the same memory as what they replace.
template <class T>
struct UpdateArrays {
  const T *gradient, *parameters, *average, *first, *second, *largest;
  T *new_parameters, *new_average, *new_first, *new_second, *new_largest;  // of largest: nothing for Adam
};

template <class T>
struct UpdateStages {
  void (*run)(const UpdateShape &, const UpdateStep<T> &, const UpdateArrays<T> &, int64_t from, int64_t to);
};

}  // namespace so3krates
