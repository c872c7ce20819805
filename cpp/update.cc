// The FFI call for a step of the optimiser.
#include "update.h"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "calls.h"
#include "variants.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace so3krates {

namespace {

constexpr int64_t kPiece = 1 << 14;  // parameters that a thread takes at a time

template <ffi::DataType D>
ffi::Error update(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results,
                  ffi::Dictionary attributes) {
  using T = ffi::NativeType<D>;
  Attributes own(attributes);
  const Variant* variant = variant_of(own.integer("variant"));
  if (variant == nullptr) return refusal("this processor has no such instruction set");
  const int64_t count = own.integer("count");
  const UpdateShape shape{own.integer("keeps_largest") != 0, own.number("first_decay"), own.number("second_decay"),
                          own.number("epsilon")};
  if (!own.missing().empty()) return refusal("attribute " + own.missing() + " is missing");
  Arrays<D, ffi::RemainingArgs> in(args);
  Arrays<D, ffi::RemainingRets> out(results);
  const T* const numbers = in.numbers(sizeof(UpdateStep<T>) / sizeof(T));
  const int64_t largest = shape.keeps_largest ? count : 0;
  UpdateArrays<T> arrays{};
  arrays.gradient = in.numbers(count);
  arrays.parameters = in.numbers(count);
  arrays.average = in.numbers(count);
  arrays.first = in.numbers(count);
  arrays.second = in.numbers(count);
  arrays.largest = in.numbers(largest);
  arrays.new_parameters = out.numbers(count);
  arrays.new_average = out.numbers(count);
  arrays.new_first = out.numbers(count);
  arrays.new_second = out.numbers(count);
  arrays.new_largest = out.numbers(largest);
  if (!in.error().empty() || !out.error().empty()) return refusal(in.error() + out.error());
  UpdateStep<T> step;
  std::memcpy(&step, numbers, sizeof(step));
  const int64_t pieces = (count + kPiece - 1) / kPiece;
  Team team;
  enlist(team, pool, pieces);
  team.run(pieces, [&](int64_t piece) {
    update_stages_of<T>(*variant).run(shape, step, arrays, piece * kPiece, std::min(count, (piece + 1) * kPiece));
  });
  return result_of(team);
}

}  // namespace

void add_update_targets(nb::dict& found) {
  found["so3krates_update_f32"] = capsule(entry<update<ffi::F32>>);
  found["so3krates_update_f64"] = capsule(entry<update<ffi::F64>>);
}

}  // namespace so3krates
