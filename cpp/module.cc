// The FFI calls and the Python module around them.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "attention.h"
#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace so3krates {

#define SO3K_DECLARE(name)      \
  namespace name {              \
  extern const Variant variant; \
  }
#ifdef SO3K_X86
SO3K_DECLARE(avx512)
SO3K_DECLARE(avx512_narrow)
SO3K_DECLARE(avx2)
#endif
SO3K_DECLARE(basic)

namespace {

std::vector<const Variant*> usable() {
  std::vector<const Variant*> found;
#ifdef SO3K_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  // Wide registers waste more on padding, and pay only where they are computed with at full width.
  const bool wide = __builtin_cpu_is("intel");
  if (avx512 && wide) found.push_back(&avx512::variant);
  if (avx512) found.push_back(&avx512_narrow::variant);
  if (avx512 && !wide) found.push_back(&avx512::variant);
  if (avx2) found.push_back(&avx2::variant);
#endif
  found.push_back(&basic::variant);
  return found;
}

const Variant* variant_of(int64_t index) {
  static const std::vector<const Variant*> all = usable();
  return index >= 0 && index < static_cast<int64_t>(all.size()) ? all[index] : nullptr;
}

template <class T>
const Stages<T>& stages_of(const Variant& variant) {
  if constexpr (std::is_same_v<T, float>)
    return variant.single;
  else
    return variant.twofold;
}

// Atoms that a thread takes at a time: a few tiles of the products.
constexpr int64_t kAtoms = 48;

template <ffi::DataType D>
using Array = ffi::Buffer<D>;
using Indices = ffi::Buffer<ffi::S32>;
using Flags = ffi::Buffer<ffi::PRED>;

// A layer as it comes from XLA: everything but what a call gives back.
template <ffi::DataType D>
struct Layer {
  using T = ffi::NativeType<D>;
  Array<D> f, x, vectors;
  Indices centers, others;
  Flags mask;
  Array<D> cutoff_table, radial, inner, outer, outer_back, project_f, project_x, back_f, back_x;
  const Variant* variant;
  int64_t heads, hidden;
  ffi::Span<const int64_t> degrees;
  double scale_f, scale_x, cutoff, bend;

  Inputs<T> inputs() const {
    return {f.typed_data(),         x.typed_data(),         vectors.typed_data(), centers.typed_data(),
            others.typed_data(),    mask.typed_data(),      cutoff_table.typed_data(),
            radial.typed_data(),    inner.typed_data(),     outer.typed_data(),   outer_back.typed_data(),
            project_f.typed_data(), project_x.typed_data(), back_f.typed_data(),  back_x.typed_data()};
  }

  // Sizes of everything; `sums` has a leading axis for the parts.
  ffi::ErrorOr<Shape> shape(const Array<D>& sums) const {
    if (variant == nullptr) return refusal("this processor has no such instruction set");
    const int64_t parts = sums.dimensions()[0];
    if (parts < 1 || parts > kMaxParts) return refusal("too many parts");
    if (degrees.size() > kMaxDegrees) return refusal("too many degrees");
    Shape s{};
    s.atoms = f.dimensions()[0];
    s.features = f.dimensions()[1];
    s.pairs = vectors.dimensions()[0];
    s.heads = heads;
    s.hidden = hidden;
    s.intervals = radial.dimensions()[0] - 1;
    s.degrees_count = static_cast<int>(degrees.size());
    for (int n = 0; n < s.degrees_count; ++n) {
      if (degrees[n] > kMaxDegree) return refusal("a degree is too high");
      s.degrees[n] = static_cast<int>(degrees[n]);
    }
    s.scale_f = scale_f;
    s.scale_x = scale_x;
    s.cutoff = cutoff;
    s.bend = bend;
    s.has_x = x.element_count() > 0;
    s.parts = parts;
    s = completed(s, variant->bytes / sizeof(T));
    if (radial.dimensions()[2] != s.columns || inner.dimensions()[2] != s.padded_hidden ||
        project_f.dimensions()[2] != s.padded_head || project_x.dimensions()[2] != s.padded_chunk)
      return refusal("parameters were arranged for another instruction set or precision");
    cut(s, mask.typed_data());
    return s;
  }

  static ffi::Unexpected<ffi::Error> refusal(const char* why) {
    return ffi::Unexpected(ffi::Error::InvalidArgument(std::string("attention kernel: ") + why));
  }
};

// The stages of a call, with the threads of the pool.
class Crew {
 public:
  Crew(ffi::ThreadPool& pool, const Shape& s) : atoms_(s.atoms), parts_(s.parts) {
    team_.enlist(std::min(s.parts, pool.num_threads()) - 1,
                 [&](std::function<void()> help) { pool.Schedule(std::move(help)); });
  }

  template <class Work>
  void over_atoms(const Work& work) {
    team_.run((atoms_ + kAtoms - 1) / kAtoms,
              [&](int64_t piece) { work(piece * kAtoms, std::min(atoms_, (piece + 1) * kAtoms)); });
  }

  template <class Work>
  void over_parts(const Work& work) {
    team_.run(parts_, work);
  }

  ffi::Error result() const {
    return team_.failed() ? ffi::Error::Internal("attention kernel: out of memory") : ffi::Error::Success();
  }

 private:
  Team team_;
  int64_t atoms_, parts_;
};

template <ffi::DataType D>
ffi::Error forward(ffi::ThreadPool pool, const Layer<D>& layer, ffi::Result<Array<D>> delta_f,
                   ffi::Result<Array<D>> delta_x, ffi::Result<Array<D>> rows, ffi::Result<Array<D>> sums) {
  using T = ffi::NativeType<D>;
  const auto shape = layer.shape(*sums);
  if (shape.has_error()) return shape.error();
  const Shape& s = *shape;
  if (rows->dimensions()[1] != s.row || sums->dimensions()[2] != s.columns_f + s.padded_orders)
    return ffi::Error::InvalidArgument("attention kernel: wrong sizes of results");
  const Inputs<T> in = layer.inputs();
  const Forward<T> out{delta_f->typed_data(), delta_x->typed_data(), rows->typed_data(), sums->typed_data()};
  const Stages<T>& stages = stages_of<T>(*layer.variant);
  Crew crew(pool, s);
  crew.over_atoms([&](int64_t first, int64_t last) { stages.project(s, in, out, first, last); });
  crew.over_parts([&](int64_t part) { stages.attend(s, in, out, part); });
  crew.over_atoms([&](int64_t first, int64_t last) { stages.collect(s, in, out, first, last); });
  return crew.result();
}

template <ffi::DataType D>
ffi::Error backward(ffi::ThreadPool pool, Array<D> cotangent_f, Array<D> cotangent_x, Array<D> saved,
                    const Layer<D>& layer, ffi::Result<Array<D>> f_back, ffi::Result<Array<D>> x_back,
                    ffi::Result<Array<D>> vectors_back, ffi::Result<Array<D>> received, ffi::Result<Array<D>> sums) {
  using T = ffi::NativeType<D>;
  const auto shape = layer.shape(*sums);
  if (shape.has_error()) return shape.error();
  const Shape& s = *shape;
  if (saved.dimensions()[1] != s.row || sums->dimensions()[2] != s.row ||
      received->dimensions()[1] != s.columns_f + s.padded_orders)
    return ffi::Error::InvalidArgument("attention kernel: wrong sizes of results");
  const Inputs<T> in = layer.inputs();
  const Backward<T> out{saved.typed_data(),   cotangent_f.typed_data(),   cotangent_x.typed_data(),
                        f_back->typed_data(), x_back->typed_data(),       vectors_back->typed_data(),
                        received->typed_data(), sums->typed_data()};
  const Stages<T>& stages = stages_of<T>(*layer.variant);
  Crew crew(pool, s);
  crew.over_atoms([&](int64_t first, int64_t last) { stages.receive(s, in, out, first, last); });
  crew.over_parts([&](int64_t part) { stages.attend_back(s, in, out, part); });
  crew.over_atoms([&](int64_t first, int64_t last) { stages.collect_back(s, in, out, first, last); });
  return crew.result();
}

template <ffi::DataType D, class Binding>
auto with_layer(Binding binding) {
  return std::move(binding)
      .template Arg<Array<D>>()   // f
      .template Arg<Array<D>>()   // x
      .template Arg<Array<D>>()   // vectors
      .template Arg<Indices>()    // centers
      .template Arg<Indices>()    // others
      .template Arg<Flags>()      // mask
      .template Arg<Array<D>>()   // cutoff
      .template Arg<Array<D>>()   // radial
      .template Arg<Array<D>>()   // inner
      .template Arg<Array<D>>()   // outer
      .template Arg<Array<D>>()   // outer_back
      .template Arg<Array<D>>()   // project_f
      .template Arg<Array<D>>()   // project_x
      .template Arg<Array<D>>()   // back_f
      .template Arg<Array<D>>();  // back_x
}

template <class Binding>
auto with_attributes(Binding binding) {
  return std::move(binding)
      .template Attr<int64_t>("variant")
      .template Attr<int64_t>("heads")
      .template Attr<int64_t>("hidden")
      .template Attr<ffi::Span<const int64_t>>("degrees")
      .template Attr<double>("scale_f")
      .template Attr<double>("scale_x")
      .template Attr<double>("cutoff")
      .template Attr<double>("bend");
}

template <ffi::DataType D>
XLA_FFI_Error* forward_call(XLA_FFI_CallFrame* frame) {
  using Out = ffi::Result<Array<D>>;
  static auto* handler =
      with_attributes(with_layer<D>(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
                          .template Ret<Array<D>>()    // Δf
                          .template Ret<Array<D>>()    // Δx
                          .template Ret<Array<D>>()    // rows
                          .template Ret<Array<D>>())   // sums
          .To([](ffi::ThreadPool pool, Array<D> f, Array<D> x, Array<D> vectors, Indices centers, Indices others, Flags mask,
                 Array<D> cutoff_table, Array<D> radial, Array<D> inner, Array<D> outer, Array<D> outer_back,
                 Array<D> project_f, Array<D> project_x, Array<D> back_f, Array<D> back_x,
                 Out delta_f, Out delta_x, Out rows, Out sums, int64_t variant, int64_t heads, int64_t hidden, ffi::Span<const int64_t> degrees, double scale_f,
                 double scale_x, double cutoff, double bend) {
            return forward<D>(pool,
                              Layer<D>{f, x, vectors, centers, others, mask, cutoff_table, radial, inner, outer, outer_back, project_f,
                                       project_x, back_f, back_x, variant_of(variant), heads, hidden, degrees, scale_f, scale_x, cutoff,
                                       bend},
                              delta_f, delta_x, rows, sums);
          })
          .release();
  return handler->Call(frame);
}

template <ffi::DataType D>
XLA_FFI_Error* backward_call(XLA_FFI_CallFrame* frame) {
  using Out = ffi::Result<Array<D>>;
  static auto* handler =
      with_attributes(with_layer<D>(ffi::Ffi::Bind()
                                        .Ctx<ffi::ThreadPool>()
                                        .template Arg<Array<D>>()   // cotangent of Δf
                                        .template Arg<Array<D>>()   // cotangent of Δx
                                        .template Arg<Array<D>>())  // rows
                          .template Ret<Array<D>>()    // f
                          .template Ret<Array<D>>()    // x
                          .template Ret<Array<D>>()    // vectors
                          .template Ret<Array<D>>()    // received
                          .template Ret<Array<D>>())   // sums
          .To([](ffi::ThreadPool pool, Array<D> cotangent_f, Array<D> cotangent_x, Array<D> saved,
                 Array<D> f, Array<D> x, Array<D> vectors, Indices centers, Indices others, Flags mask,
                 Array<D> cutoff_table, Array<D> radial, Array<D> inner, Array<D> outer, Array<D> outer_back,
                 Array<D> project_f, Array<D> project_x, Array<D> back_f, Array<D> back_x,
                 Out f_back, Out x_back, Out vectors_back, Out received, Out sums,
                 int64_t variant, int64_t heads, int64_t hidden, ffi::Span<const int64_t> degrees, double scale_f,
                 double scale_x, double cutoff, double bend) {
            return backward<D>(pool, cotangent_f, cotangent_x, saved,
                               Layer<D>{f, x, vectors, centers, others, mask, cutoff_table, radial, inner, outer, outer_back, project_f,
                                        project_x, back_f, back_x, variant_of(variant), heads, hidden, degrees, scale_f, scale_x, cutoff,
                                        bend},
                               f_back, x_back, vectors_back, received, sums);
          })
          .release();
  return handler->Call(frame);
}

nb::capsule capsule(XLA_FFI_Error* (*call)(XLA_FFI_CallFrame*)) { return nb::capsule(reinterpret_cast<void*>(call)); }

}  // namespace

void add_far_pairs(nb::module_& m);  // far_pairs.cc

}  // namespace so3krates

NB_MODULE(_kernels, m) {
  using namespace so3krates;
  m.doc() = "Fused attention on a CPU: FFI calls for JAX, and the instruction sets they can use here.";
  m.def("targets", [] {
    nb::dict found;
    found["so3krates_attention_f32"] = capsule(forward_call<ffi::F32>);
    found["so3krates_attention_f64"] = capsule(forward_call<ffi::F64>);
    found["so3krates_attention_back_f32"] = capsule(backward_call<ffi::F32>);
    found["so3krates_attention_back_f64"] = capsule(backward_call<ffi::F64>);
    return found;
  });
  m.def("variants", [] {
    nb::list found;
    for (int64_t n = 0; const Variant* variant = variant_of(n); ++n)
      found.append(nb::make_tuple(variant->name, variant->bytes));
    return found;
  });
  add_far_pairs(m);
  m.attr("max_degree") = kMaxDegree;
  m.attr("max_degrees") = kMaxDegrees;
  m.attr("max_parts") = kMaxParts;
}
