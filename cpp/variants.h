// The kernels for one instruction set, and which of the sets this processor has.
#pragma once

#include <type_traits>

#include "far_pairs.h"
#include "network.h"
#include "training.h"
#include "update.h"

namespace so3krates {

struct Variant {
  const char* name;
  int bytes;  // of a register
  Stages<float> single;
  Stages<double> twofold;
  // Of long-range pairs, of pairs in training and of the optimiser; in objects of their own.
  const FarStages<float>* far_single;
  const FarStages<double>* far_twofold;
  const TrainStages<float>* train_single;
  const TrainStages<double>* train_twofold;
  const UpdateStages<float>* update_single;
  const UpdateStages<double>* update_twofold;
};

// By its number, the preferred one first; null beyond the last one.
const Variant* variant_of(int64_t number);

template <class T>
const Stages<T>& stages_of(const Variant& variant) {
  if constexpr (std::is_same_v<T, float>)
    return variant.single;
  else
    return variant.twofold;
}

template <class T>
const FarStages<T>& far_stages_of(const Variant& variant) {
  if constexpr (std::is_same_v<T, float>)
    return *variant.far_single;
  else
    return *variant.far_twofold;
}

template <class T>
const TrainStages<T>& train_stages_of(const Variant& variant) {
  if constexpr (std::is_same_v<T, float>)
    return *variant.train_single;
  else
    return *variant.train_twofold;
}

template <class T>
const UpdateStages<T>& update_stages_of(const Variant& variant) {
  if constexpr (std::is_same_v<T, float>)
    return *variant.update_single;
  else
    return *variant.update_twofold;
}

}  // namespace so3krates
