// The FFI calls and the Python module around them.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "calls.h"
#include "network.h"
#include "variants.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace so3krates {

namespace {

// Atoms that a thread takes at a time: a few tiles of the products, and pieces enough for all threads.
constexpr int64_t kFewestAtoms = 8, kMostAtoms = 48;
constexpr int64_t kKnots = 32;

// Sizes from the attributes of a call, or from Python, and the instruction set.
template <class Get>
Shape shape_of(const Variant& variant, int64_t bytes, const Get& get, const int64_t* degrees, size_t degrees_count) {
  Shape s{};
  s.layers = get("layers");
  s.heads = get("heads");
  s.hidden = get("hidden");
  s.intervals = get("intervals");
  s.features = get("features");
  s.atoms = get("atoms");
  s.pairs = get("pairs");
  s.parts = get("parts");
  s.starts_at_zero = get("starts_at_zero") != 0;
  s.attention_norm = get("attention_norm") != 0;
  s.residual = get("residual") != 0;
  s.exchange_norm = get("exchange_norm") != 0;
  s.degrees_count = static_cast<int>(degrees_count);
  std::copy(degrees, degrees + degrees_count, s.degrees);
  return completed(s, variant.bytes / bytes);
}

// Bytes of types, of what is saved for the way back, and of scratch memory forward and back.
nb::tuple workspace(int64_t variant, int64_t bytes, nb::dict sizes, std::vector<int64_t> degrees) {
  if (variant_of(variant) == nullptr || degrees.size() > kMaxDegrees) throw nb::value_error("no such call");
  const Shape s = shape_of(
      *variant_of(variant), bytes, [&](const char* name) { return nb::cast<int64_t>(sizes[name]); }, degrees.data(),
      degrees.size());
  const auto count = [&](auto number) {
    using T = decltype(number);
    Types<T> types;
    Saved<T> saved;
    Scratch<T> scratch;
    return nb::make_tuple(lay_out<T>(s, nullptr, types), lay_out<T>(s, nullptr, saved),
                          lay_out<T>(s, nullptr, scratch, false), lay_out<T>(s, nullptr, scratch, true));
  };
  return bytes == 4 ? count(0.0f) : count(0.0);
}

enum class What { types, forward, back };

// A call as it comes from XLA.
template <ffi::DataType D>
struct Request {
  using T = ffi::NativeType<D>;
  const Variant* variant;
  Call<T> call;

  const bool* atom_mask = nullptr;  // of a call for types

  // Why it cannot be; empty if it can.
  std::string read(const ffi::RemainingArgs& args, const ffi::RemainingRets& results, const ffi::Dictionary& attributes,
                   What what) {
    const bool back = what == What::back;
    Attributes own(attributes);
    const auto integer = [&](const char* name) { return own.integer(name); };
    variant = variant_of(integer("variant"));
    if (variant == nullptr) return "this processor has no such instruction set";
    const auto degrees = attributes.get<ffi::Span<const int64_t>>("degrees");
    if (!degrees.has_value() || degrees->size() < 1 || degrees->size() > kMaxDegrees) return "no degrees, or too many";
    for (const int64_t degree : *degrees)
      if (degree < 0 || degree > kMaxDegree) return "a degree is too high";
    call.s = shape_of(*variant, sizeof(T), integer, degrees->begin(), degrees->size());
    Shape& s = call.s;
    s.scale_f = own.number("scale_f");
    s.scale_x = own.number("scale_x");
    s.cutoff = own.number("cutoff");
    s.epsilon = own.number("epsilon");
    if (!own.missing().empty()) return "attribute " + own.missing() + " is missing";
    if (s.parts < 1 || s.parts > kMaxParts) return "too many parts";

    const int64_t orders = s.atoms * s.orders, known = s.starts_at_zero ? 0 : orders;
    Arrays<D, ffi::RemainingArgs> in(args);
    if (back) {
      call.cotangent_f = in.numbers(s.atoms * s.features);
      call.cotangent_x = in.numbers(orders);
      Saved<T> none;
      lay_out<T>(s, in.template take<char>(ffi::U8, lay_out<T>(s, nullptr, none)), call.saved);
    }
    Arrays<D, ffi::RemainingRets> out(results);
    Types<T> no_types;
    const int64_t types_bytes = lay_out<T>(s, nullptr, no_types);
    if (what == What::types) {
      call.in.f = in.numbers(s.atoms * s.features);
      atom_mask = in.template take<bool>(ffi::PRED, s.atoms);
      read_parameters(in);
      lay_out<T>(s, out.template take<char>(ffi::U8, types_bytes), call.types);
      return in.error().empty() ? out.error() : in.error();
    }
    lay_out<T>(s, in.template take<char>(ffi::U8, types_bytes), call.types);
    read_inputs(in, known);
    read_parameters(in);
    call.f = back ? nullptr : out.numbers(s.atoms * s.features);
    call.x = out.numbers(back ? known : orders);
    call.vectors = back ? out.numbers(3 * s.pairs) : nullptr;
    if (!back) {
      Saved<T> none;
      lay_out<T>(s, out.template take<char>(ffi::U8, lay_out<T>(s, nullptr, none)), call.saved);
    }
    Scratch<T> none;
    lay_out<T>(s, out.template take<char>(ffi::U8, lay_out<T>(s, nullptr, none, back)), call.scratch, back);
    return in.error().empty() ? out.error() : in.error();
  }

  void read_inputs(Arrays<D, ffi::RemainingArgs>& from, int64_t known) {
    const Shape& s = call.s;
    Inputs<T>& in = call.in;
    in.f = from.numbers(s.atoms * s.features);
    in.x = from.numbers(known);
    in.vectors = from.numbers(3 * s.pairs);
    in.centers = from.template take<int32_t>(ffi::S32, s.pairs);
    in.others = from.template take<int32_t>(ffi::S32, s.pairs);
    in.mask = from.template take<bool>(ffi::PRED, s.pairs);
  }

  void read_parameters(Arrays<D, ffi::RemainingArgs>& from) {
    const Shape& s = call.s;
    Inputs<T>& in = call.in;
    const int64_t inputs = s.features + s.degrees_count, width = s.padded_features;
    const int64_t norms = s.attention_norm || s.exchange_norm;
    in.knots = from.numbers(s.intervals + 1);
    in.cutoff = from.numbers((s.intervals + 1) * 2);
    in.radial = from.numbers(s.layers * (s.intervals + 1) * 2 * s.columns);
    in.inner = from.numbers(s.layers * (s.degrees_count + 1) * s.hidden_row);
    in.outer = from.numbers(s.layers * s.hidden * s.columns);
    in.outer_back = from.numbers(s.layers * 2 * s.features * s.padded_hidden);
    in.project_f = from.numbers(s.layers * 3 * s.features * s.f.padded_width);
    in.project_x = from.numbers(s.layers * 2 * s.features * s.x.padded_width);
    in.back_f = from.numbers(s.layers * 3 * s.features * s.f.padded_width);
    in.back_x = from.numbers(s.layers * 2 * s.features * s.x.padded_width);
    in.norms = from.numbers(norms * s.layers * kNormRows * width);
    in.residual = from.numbers(s.residual * s.layers * 2 * (s.features + 1) * width);
    in.residual_back = from.numbers(s.residual * s.layers * 2 * s.features * width);
    in.exchange = from.numbers(s.layers * (inputs + 1) * s.exchange);
    in.exchange_back = from.numbers(s.layers * inputs * s.exchange);
  }
};

// The stages of a call, with as many threads of the pool as there are pieces of work for.
class Crew {
 public:
  Crew(ffi::ThreadPool& pool, int64_t pieces, int64_t parts, int64_t atoms) : parts_(parts) {
    const int64_t threads = std::min({pieces, kMaxThreads, pool.num_threads()});
    atoms_ = std::clamp(padded(atoms / (8 * std::max<int64_t>(threads, 1)), kFewestAtoms), kFewestAtoms, kMostAtoms);
    enlist(team_, pool, threads);
  }

  // Of layers: parts of the pairs may be fewer than threads, since each has sums of its own.
  Crew(ffi::ThreadPool& pool, const Shape& s)
      : Crew(pool, std::max(s.parts, s.atoms / (4 * kMostAtoms)), s.parts, s.atoms) {}

  template <class Work>
  void over_atoms(int64_t count, const Work& work) {
    over(count, atoms_, work);
  }

  template <class Work>
  void over(int64_t count, int64_t size, const Work& work) {
    team_.run((count + size - 1) / size,
              [&](int64_t piece) { work(piece * size, std::min(count, (piece + 1) * size)); });
  }

  template <class Work>
  void over_parts(const Work& work) {
    team_.run(parts_, work);
  }

  ffi::Error result() const { return result_of(team_); }

 private:
  Team team_;
  int64_t atoms_, parts_;
};

// What a call asks for, done by `work(call, stages)`.
template <ffi::DataType D, class Work>
ffi::Error answered(const ffi::RemainingArgs& args, const ffi::RemainingRets& results,
                    const ffi::Dictionary& attributes, What what, const Work& work) {
  Request<D> request;
  const std::string why = request.read(args, results, attributes, what);
  if (!why.empty()) return refusal(why);
  return work(request, stages_of<ffi::NativeType<D>>(*request.variant));
}

template <ffi::DataType D>
ffi::Error types(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results,
                 ffi::Dictionary attributes) {
  return answered<D>(args, results, attributes, What::types, [&](const auto& request, const auto& stages) {
    const auto& call = request.call;
    Crew crew(pool, call.s.intervals / kKnots, 1, 0);
    if (stages.find_types(call, request.atom_mask))
      crew.over(call.s.intervals + 1, kKnots,
                [&](int64_t first, int64_t last) { stages.make_tables(call, first, last); });
    return crew.result();
  });
}

template <ffi::DataType D>
ffi::Error forward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results,
                   ffi::Dictionary attributes) {
  return answered<D>(args, results, attributes, What::forward, [&](const auto& request, const auto& stages) {
    const auto& call = request.call;
    const Shape& s = call.s;
    cut(s, call.in.mask, call.saved.parts);
    Crew crew(pool, s);
    stages.prepare(call);
    crew.over_parts([&](int64_t part) { stages.measure(call, part); });
    crew.over_atoms(s.atoms, [&](int64_t first, int64_t last) { stages.begin(call, first, last); });
    for (int64_t layer = 0; layer < s.layers; ++layer) {
      crew.over_parts([&](int64_t part) { stages.attend(call, layer, part); });
      crew.over_atoms(s.atoms, [&](int64_t first, int64_t last) { stages.update(call, layer, first, last); });
    }
    return crew.result();
  });
}

template <ffi::DataType D>
ffi::Error backward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results,
                    ffi::Dictionary attributes) {
  return answered<D>(args, results, attributes, What::back, [&](const auto& request, const auto& stages) {
    const auto& call = request.call;
    const Shape& s = call.s;
    Crew crew(pool, s);
    crew.over_atoms(s.atoms, [&](int64_t first, int64_t last) { stages.receive(call, first, last); });
    for (int64_t layer = s.layers - 1; layer >= 0; --layer) {
      crew.over_parts([&](int64_t part) { stages.attend_back(call, layer, part); });
      if (layer > 0 || !s.starts_at_zero)
        crew.over_atoms(s.atoms, [&](int64_t first, int64_t last) { stages.update_back(call, layer, first, last); });
    }
    return crew.result();
  });
}

}  // namespace

void add_far_targets(nb::dict& found);       // far_pairs.cc
void add_training_targets(nb::dict& found);  // training.cc
void add_update_targets(nb::dict& found);    // update.cc
nb::tuple training_workspace(int64_t variant, int64_t bytes, nb::dict sizes, std::vector<int64_t> degrees);

}  // namespace so3krates

NB_MODULE(_kernels, m) {
  using namespace so3krates;
  m.doc() = "The layers of the network on a CPU: FFI calls for JAX, and the instruction sets they can use here.";
  m.def("targets", [] {
    nb::dict found;
    found["so3krates_types_f32"] = capsule(entry<types<ffi::F32>>);
    found["so3krates_types_f64"] = capsule(entry<types<ffi::F64>>);
    found["so3krates_layers_f32"] = capsule(entry<forward<ffi::F32>>);
    found["so3krates_layers_f64"] = capsule(entry<forward<ffi::F64>>);
    found["so3krates_layers_back_f32"] = capsule(entry<backward<ffi::F32>>);
    found["so3krates_layers_back_f64"] = capsule(entry<backward<ffi::F64>>);
    add_far_targets(found);
    add_training_targets(found);
    add_update_targets(found);
    return found;
  });
  m.def("variants", [] {
    nb::list found;
    for (int64_t n = 0; const Variant* variant = variant_of(n); ++n)
      found.append(nb::make_tuple(variant->name, variant->bytes));
    return found;
  });
  m.def("workspace", &workspace,
        "Bytes of types, of what is saved for the way back, and of scratch memory forward and back.");
  m.def("training_workspace", &training_workspace, "Bytes of what is packed and of scratch memory in training.");
  m.attr("max_far_parts") = kMaxFarParts;
  m.attr("max_degree") = kMaxDegree;
  m.attr("max_degrees") = kMaxDegrees;
  m.attr("max_parts") = kMaxParts;
}
