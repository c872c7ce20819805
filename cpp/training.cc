// The FFI calls for pairs where forces are trained on: scores, their derivatives, and the derivatives of both.
#include "training.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "calls.h"
#include "variants.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace so3krates {

namespace {

// Atoms that a thread takes at a time when sums of all parts are added up.
constexpr int64_t kAtoms = 32;

template <class Get>
TrainShape shape_of(const Variant& variant, int64_t bytes, const Get& get, const int64_t* degrees,
                    size_t degrees_count) {
  TrainShape s{};
  s.atoms = get("atoms");
  s.pairs = get("pairs");
  s.functions = get("functions");
  s.invariants = get("invariants");
  s.radial = get("radial");
  s.spherical = get("spherical");
  s.features = get("features");
  s.heads = get("heads");
  s.degrees_count = static_cast<int>(degrees_count);
  std::copy(degrees, degrees + degrees_count, s.degrees);
  s.kinds = get("kinds");
  s.parts = get("parts");
  return completed(s, variant.bytes / bytes);
}

// A call as it comes from XLA: arguments and results in the order in which `trained_pairs.py` has them.
template <ffi::DataType D, TrainStep step>
struct Request {
  using T = ffi::NativeType<D>;
  const Variant* variant;
  TrainCall<T> call{};

  // Why it cannot be; empty if it can.
  std::string read(const ffi::RemainingArgs& args, const ffi::RemainingRets& results,
                   const ffi::Dictionary& attributes) {
    Attributes own(attributes);
    const auto integer = [&](const char* name) { return own.integer(name); };
    variant = variant_of(integer("variant"));
    if (variant == nullptr) return "this processor has no such instruction set";
    const auto degrees = attributes.get<ffi::Span<const int64_t>>("degrees");
    if (!degrees.has_value() || degrees->size() < 1 || degrees->size() > kMaxDegrees) return "no degrees, or too many";
    for (const int64_t degree : *degrees)
      if (degree < 0 || degree > kMaxDegree) return "a degree is too high";
    call.s = shape_of(*variant, sizeof(T), integer, degrees->begin(), degrees->size());
    call.s.scale_f = own.number("scale_f");
    call.s.scale_x = own.number("scale_x");
    const TrainShape& s = call.s;
    if (!own.missing().empty()) return "attribute " + own.missing() + " is missing";
    if (s.parts < 1 || s.parts > kMaxParts) return "too many parts";
    if (s.heads < 1 || s.features % s.heads || s.features % s.degrees_count)
      return "features cannot be cut into these chunks";
    if (s.kinds > 0 && (s.invariants > 0 || s.spherical > 0)) return "kinds of atoms together with invariants";
    Arrays<D, ffi::RemainingArgs> in(args);
    Arrays<D, ffi::RemainingRets> out(results);
    read_arguments(in);
    find_results(out);
    TrainCall<T> counted = call;
    const int64_t packed = lay_out_packed(counted, nullptr), scratch = lay_out_scratch(counted, nullptr);
    if (step == TrainStep::forward)
      lay_out_packed(call, out.template take<char>(ffi::U8, packed));
    else
      lay_out_packed(call, in.template take<char>(ffi::U8, packed));
    char* const memory = out.template take<char>(ffi::U8, scratch);
    if (memory != nullptr) lay_out_scratch(call, memory);
    return in.error().empty() ? out.error() : in.error();
  }

 private:
  int64_t hidden() const { return call.s.pairs * kFilters * call.s.hidden; }
  int64_t values() const { return call.s.kinds > 0 ? 0 : call.s.pairs * kFilters * call.s.features; }
  int64_t rows() const { return call.s.atoms * call.s.row; }
  int64_t scores() const { return call.s.pairs * 2 * call.s.chunks(); }

  void read_arguments(Arrays<D, ffi::RemainingArgs>& in) {
    const TrainShape& s = call.s;
    const int64_t f = s.atoms * s.features, x = s.atoms * s.orders;
    call.centers = in.template take<int32_t>(ffi::S32, s.pairs);
    call.others = in.template take<int32_t>(ffi::S32, s.pairs);
    call.kind = in.template take<int32_t>(ffi::S32, s.kinds > 0 ? s.atoms : 0);
    for (int filter = 0; filter < kFilters && step == TrainStep::forward; ++filter)
      for (int n = 0; n < kParameters; ++n) call.parameters[filter][n] = in.numbers(size_of(s, filter, n).count());
    for (const T*& each : call.rows) each = in.numbers(rows());
    call.carried = in.numbers(f);
    call.phi = in.numbers(s.pairs);
    call.harmonics = in.numbers(s.pairs * s.orders);
    if (step != TrainStep::back) {
      call.functions = in.numbers(s.pairs * s.functions);
      call.invariants = in.numbers(s.pairs * s.invariants);
    }
    if (step == TrainStep::forward) return;
    call.scores = in.numbers(scores());
    call.values = in.numbers(values());
    call.hidden = in.numbers(hidden());
    call.gate = in.numbers(hidden());
    call.f_back = in.numbers(f);
    call.x_back = in.numbers(x);
    if (step == TrainStep::second) {
      call.scores_back = in.numbers(scores());
      call.values_back = in.numbers(values());
      call.leaving = in.numbers(hidden());
      call.phi_factors = in.numbers(s.pairs);
      call.harmonics_factors = in.numbers(s.pairs * s.orders);
      for (const T*& each : call.rows_factors) each = in.numbers(rows());
      call.carried_factors = in.numbers(f);
    }
    if (step == TrainStep::weights) {
      call.scores_more = in.numbers(scores());
      call.values_more = in.numbers(values());
      call.hidden_more = in.numbers(hidden());
    }
  }

  void find_results(Arrays<D, ffi::RemainingRets>& out) {
    const TrainShape& s = call.s;
    if (step == TrainStep::forward || step == TrainStep::second) {
      call.f = out.numbers(s.atoms * s.features);
      call.x = out.numbers(s.atoms * s.orders);
    }
    if (step == TrainStep::forward) {
      call.scores = out.numbers(scores());
      call.values = out.numbers(values());
      call.hidden = out.numbers(hidden());
      call.gate = out.numbers(hidden());
      return;
    }
    if (step == TrainStep::back) {
      call.phi_out = out.numbers(s.pairs);
      call.harmonics_out = out.numbers(s.pairs * s.orders);
      call.functions_out = out.numbers(s.pairs * s.functions);
    }
    if (step != TrainStep::second) call.invariants_out = out.numbers(s.pairs * s.invariants);
    for (T*& each : call.rows_out) each = out.numbers(rows());
    call.carried_out = out.numbers(s.atoms * s.features);
    if (step == TrainStep::second) {
      call.scores_out = out.numbers(scores());
      call.values_out = out.numbers(values());
      call.hidden_out = out.numbers(hidden());
    } else {
      call.scores_back = out.numbers(scores());
      call.values_back = out.numbers(values());
    }
    if (step == TrainStep::back) {
      call.leaving = out.numbers(hidden());
      return;
    }
    // Biases have no part in the derivative of `back`.
    for (int filter = 0; filter < kFilters; ++filter)
      for (int n = 0; n < kParameters; ++n) {
        const Size size = size_of(s, filter, n);
        if (step == TrainStep::weights || !size.bias) call.derivatives[filter][n] = out.numbers(size.count());
      }
  }
};

template <ffi::DataType D, TrainStep step>
ffi::Error answered(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results,
                    ffi::Dictionary attributes) {
  using T = ffi::NativeType<D>;
  Request<D, step> request;
  const std::string why = request.read(args, results, attributes);
  if (!why.empty()) return refusal(why);
  const TrainCall<T>& call = request.call;
  const TrainShape& s = call.s;
  const TrainStages<T>& stages = train_stages_of<T>(*request.variant);
  Team team;
  enlist(team, pool, s.parts);
  if (step == TrainStep::forward) team.run(kFilters, [&](int64_t n) { stages.pack(call, n); });
  team.run(s.parts, [&](int64_t part) { stages.run(call, step, part); });
  const int64_t filters = step == TrainStep::second || step == TrainStep::weights ? kFilters : 0;
  const int64_t pieces = (s.atoms + kAtoms - 1) / kAtoms;
  team.run(filters + pieces, [&](int64_t n) {
    if (n < filters) return stages.collect_parameters(call, n);
    stages.collect_atoms(call, (n - filters) * kAtoms, std::min(s.atoms, (n - filters + 1) * kAtoms));
  });
  return result_of(team);
}

template <ffi::DataType D>
void add_targets(nb::dict& found, const std::string& suffix) {
  const auto add = [&](const std::string& name, XLA_FFI_Error* (*call)(XLA_FFI_CallFrame*)) {
    found[(name + suffix).c_str()] = capsule(call);
  };
  add("so3krates_trained", entry<answered<D, TrainStep::forward>>);
  add("so3krates_trained_back", entry<answered<D, TrainStep::back>>);
  add("so3krates_trained_second", entry<answered<D, TrainStep::second>>);
  add("so3krates_trained_weights", entry<answered<D, TrainStep::weights>>);
}

}  // namespace

void add_training_targets(nb::dict& found) {
  add_targets<ffi::F32>(found, "_f32");
  add_targets<ffi::F64>(found, "_f64");
}

// Bytes of what is packed and of scratch memory, for Python.
nb::tuple training_workspace(int64_t variant, int64_t bytes, nb::dict sizes, std::vector<int64_t> degrees) {
  if (variant_of(variant) == nullptr || degrees.size() > kMaxDegrees) throw nb::value_error("no such call");
  const TrainShape s = shape_of(
      *variant_of(variant), bytes, [&](const char* name) { return nb::cast<int64_t>(sizes[name]); }, degrees.data(),
      degrees.size());
  const auto count = [&](auto number) {
    TrainCall<decltype(number)> call{};
    call.s = s;
    return nb::make_tuple(lay_out_packed(call, nullptr), lay_out_scratch(call, nullptr));
  };
  return bytes == 4 ? count(0.0f) : count(0.0);
}

}  // namespace so3krates
