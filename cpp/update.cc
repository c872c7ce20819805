// The FFI call for a step of the optimiser.
#include "update.h"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "arrays.h"
#include "team.h"
#include "variants.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace so3krates {

namespace {

constexpr int64_t kPiece = 1 << 14;  // parameters that a thread takes at a time

template <ffi::DataType D>
ffi::Error update(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, int64_t number,
                  int64_t count, bool keeps_largest, double first_decay, double second_decay, double epsilon) {
  using T = ffi::NativeType<D>;
  const auto refusal = [](const std::string& why) { return ffi::Error::InvalidArgument("optimiser kernel: " + why); };
  const Variant* variant = variant_of(number);
  if (variant == nullptr) return refusal("there is no such instruction set");
  const UpdateShape shape{keeps_largest, first_decay, second_decay, epsilon};
  Arrays<D, ffi::RemainingArgs> in(args);
  Arrays<D, ffi::RemainingRets> out(results);
  const T* const numbers = in.numbers(sizeof(UpdateStep<T>) / sizeof(T));
  const int64_t largest = keeps_largest ? count : 0;
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
  const UpdateStep<T> step{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]};
  const int64_t pieces = (count + kPiece - 1) / kPiece;
  Team team;
  team.enlist(std::min(pieces, pool.num_threads()) - 1,
              [&](std::function<void()> help) { pool.Schedule(std::move(help)); });
  team.run(pieces, [&](int64_t piece) {
    update_stages_of<T>(*variant).run(shape, step, arrays, piece * kPiece, std::min(count, (piece + 1) * kPiece));
  });
  return team.failed() ? ffi::Error::Internal("optimiser kernel: a thread failed") : ffi::Error::Success();
}

template <ffi::DataType D>
XLA_FFI_Error* update_call(XLA_FFI_CallFrame* frame) {
  static auto* handler = ffi::Ffi::Bind()
                             .Ctx<ffi::ThreadPool>()
                             .RemainingArgs()
                             .RemainingRets()
                             .Attr<int64_t>("variant")
                             .Attr<int64_t>("count")
                             .Attr<bool>("keeps_largest")
                             .Attr<double>("first_decay")
                             .Attr<double>("second_decay")
                             .Attr<double>("epsilon")
                             .To(update<D>)
                             .release();
  return handler->Call(frame);
}

}  // namespace

void add_update_targets(nb::dict& found) {
  found["so3krates_update_f32"] = nb::capsule(reinterpret_cast<void*>(update_call<ffi::F32>));
  found["so3krates_update_f64"] = nb::capsule(reinterpret_cast<void*>(update_call<ffi::F64>));
}

}  // namespace so3krates
