// The FFI calls for long-range pairs: energies, their derivatives, and forces along the pairs.
#include "far_pairs.h"

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "calls.h"
#include "team.h"
#include "variants.h"
#include "xla/ffi/api/ffi.h"

namespace nb = nanobind;
namespace ffi = xla::ffi;

namespace so3krates {

namespace {

// Atoms that a thread takes at a time when sums of all parts are added up.
constexpr int64_t kAtoms = 256;

template <ffi::DataType D>
using Array = ffi::Buffer<D>;
template <ffi::DataType D>
using Out = ffi::Result<ffi::Buffer<D>>;
using Indices = ffi::Buffer<ffi::S32>;
using Flags = ffi::Buffer<ffi::PRED>;

// Runs `work` for every part and then `collect` for all atoms, with the threads of the pool.
template <class Work, class Collect>
ffi::Error over_parts(ffi::ThreadPool& pool, const FarShape& s, const Work& work, const Collect& collect) {
  Team team;
  enlist(team, pool, s.parts);
  team.run(s.parts, work);
  team.run((s.atoms + kAtoms - 1) / kAtoms,
           [&](int64_t piece) { collect(piece * kAtoms, std::min(s.atoms, (piece + 1) * kAtoms)); });
  return result_of(team);
}

// Columns from `column` on of the sums of all parts (parts, atoms, 4), in their order.
template <class T>
void collect(const FarShape& s, const T* sums, int64_t column, T* one, T* other, int64_t first, int64_t last) {
  for (int64_t atom = first; atom < last; ++atom) {
    T values[2] = {};
    for (int64_t part = 0; part < s.parts; ++part)
      for (int64_t c = 0; c < 2; ++c) values[c] += sums[(part * s.atoms + atom) * 4 + column + c];
    one[atom] = values[0];
    other[atom] = values[1];
  }
}

template <ffi::DataType D>
struct Given {
  using T = ffi::NativeType<D>;
  Array<D> lengths;
  Flags mask;
  Indices centers, others, structure;

  FarPairs<T> pairs() const {
    return {lengths.typed_data(), mask.typed_data(), centers.typed_data(), others.typed_data(), structure.typed_data()};
  }

  // `sums` has a leading axis for the parts, `columns` is 0 for a list.
  FarShape shape(const Array<D>& sums, int64_t structures, int64_t columns) const {
    FarShape s{};
    s.parts = sums.dimensions()[0];
    s.atoms = sums.dimensions()[1];
    s.pairs = static_cast<int64_t>(lengths.element_count());
    s.structures = structures;
    s.columns = columns;
    return s;
  }

  ffi::Error check(const FarShape& s, const Variant* variant) const {
    if (variant == nullptr) return refusal("there is no such instruction set");
    if (s.parts < 1 || s.parts > kMaxFarParts) return refusal("too many parts");
    const auto pairs = static_cast<size_t>(s.pairs);
    const bool list = s.columns == 0;
    if (mask.element_count() != pairs || (!list && s.pairs != s.atoms * s.columns) || (!list && s.structures != 1) ||
        (list && (centers.element_count() != pairs || others.element_count() != pairs ||
                  structure.element_count() != static_cast<size_t>(s.atoms))))
      return refusal("wrong sizes of pairs");
    return ffi::Error::Success();
  }
};

template <ffi::DataType D>
struct Model {
  using T = ffi::NativeType<D>;
  Array<D> cutoffs, charges, alphas, periods;
  ffi::Span<const double> constants;

  FarAtoms<T> atoms() const {
    return {cutoffs.typed_data(), charges.typed_data(), alphas.typed_data(), periods.typed_data()};
  }

  FarTerms terms() const {
    FarTerms t{};
    t.electrostatics = charges.element_count() > 0;
    t.dispersion = alphas.element_count() > 0;
    double* const to[] = {&t.coulomb,       &t.bohr,          &t.hartree,       &t.width,
                          &t.switch_from,   &t.switch_width,  &t.radius,        &t.damping,
                          &t.polynomial[0], &t.polynomial[1], &t.polynomial[2], &t.polynomial[3]};
    for (size_t n = 0; n < constants.size(); ++n) *to[n] = constants[n];
    return t;
  }

  ffi::Error check(const FarShape& s) const {
    const auto atoms = static_cast<size_t>(s.atoms);
    const auto fits = [&](const Array<D>& values) {
      return values.element_count() == 0 || values.element_count() == atoms;
    };
    if (constants.size() != 12) return refusal("wrong number of constants");
    if (!fits(charges) || !fits(alphas) || periods.element_count() != alphas.element_count())
      return refusal("wrong numbers of atoms");
    return ffi::Error::Success();
  }
};

template <ffi::DataType D, class T>
ffi::Error evaluate(ffi::ThreadPool& pool, const Given<D>& given, const Model<D>& model, const FarShape& s,
                    const FarEnergies<T>& out, const Variant& variant) {
  const FarTerms terms = model.terms();
  return over_parts(
      pool, s,
      [&](int64_t part) { far_stages_of<T>(variant).evaluate(s, terms, given.pairs(), model.atoms(), out, part); },
      [&](int64_t first, int64_t last) {
        if (out.energies != nullptr) collect(s, out.sums, 0, out.energies, out.energies + s.atoms, first, last);
        collect(s, out.sums, 2, out.atoms, out.atoms + s.atoms, first, last);
      });
}

// Energies, and their derivatives as if all cotangents were one, which they are for forces.
template <ffi::DataType D>
ffi::Error energies(ffi::ThreadPool pool, const Given<D>& given, const Model<D>& model, Out<D> found, Out<D> lengths,
                    Out<D> atoms, Out<D> sums, int64_t number, int64_t columns) {
  using T = ffi::NativeType<D>;
  const Variant* variant = variant_of(number);
  const FarShape s = given.shape(*sums, model.cutoffs.element_count(), columns);
  if (ffi::Error error = given.check(s, variant); error.failure()) return error;
  if (ffi::Error error = model.check(s); error.failure()) return error;
  return evaluate<D, T>(pool, given, model, s,
                        {nullptr, found->typed_data(), lengths->typed_data(), atoms->typed_data(), sums->typed_data()},
                        *variant);
}

// The derivatives for any cotangents: those that are known already, or all of them once more.
template <ffi::DataType D>
ffi::Error slopes(ffi::ThreadPool pool, const Given<D>& given, const Model<D>& model, Array<D> cotangents,
                  Array<D> known_lengths, Array<D> known_atoms, Out<D> lengths, Out<D> atoms, Out<D> sums,
                  int64_t number, int64_t columns) {
  using T = ffi::NativeType<D>;
  const Variant* variant = variant_of(number);
  const FarShape s = given.shape(*sums, model.cutoffs.element_count(), columns);
  if (ffi::Error error = given.check(s, variant); error.failure()) return error;
  if (ffi::Error error = model.check(s); error.failure()) return error;
  const FarTerms terms = model.terms();
  const T* weights = cotangents.typed_data();
  const auto ones = [&](const T* first) { return std::all_of(first, first + s.atoms, [](T w) { return w == T(1); }); };
  if ((!terms.electrostatics || ones(weights)) && (!terms.dispersion || ones(weights + s.atoms))) {
    // XLA lets both be the same memory.
    if (lengths->typed_data() != known_lengths.typed_data())
      std::memcpy(lengths->typed_data(), known_lengths.typed_data(), known_lengths.size_bytes());
    if (atoms->typed_data() != known_atoms.typed_data())
      std::memcpy(atoms->typed_data(), known_atoms.typed_data(), known_atoms.size_bytes());
    return ffi::Error::Success();
  }
  return evaluate<D, T>(pool, given, model, s,
                        {weights, nullptr, lengths->typed_data(), atoms->typed_data(), sums->typed_data()}, *variant);
}

template <ffi::DataType D>
ffi::Error push(ffi::ThreadPool pool, const Given<D>& given, Array<D> vectors, Array<D> gradient, Out<D> forces,
                Out<D> virial, Out<D> sums, Out<D> virials, int64_t number, int64_t columns) {
  using T = ffi::NativeType<D>;
  const Variant* variant = variant_of(number);
  const FarShape s = given.shape(*sums, virial->dimensions()[0], columns);
  if (ffi::Error error = given.check(s, variant); error.failure()) return error;
  const FarPush<T> out{vectors.typed_data(), gradient.typed_data(), forces->typed_data(),
                       virial->typed_data(), sums->typed_data(),    virials->typed_data()};
  ffi::Error error = over_parts(
      pool, s, [&](int64_t part) { far_stages_of<T>(*variant).push(s, given.pairs(), out, part); },
      [&](int64_t first, int64_t last) {
        for (int64_t atom = first; atom < last; ++atom)
          for (int64_t c = 0; c < 3; ++c) {
            T value = 0;
            for (int64_t part = 0; part < s.parts; ++part) value += out.sums[(part * s.atoms + atom) * 4 + c];
            out.forces[atom * 3 + c] = value;
          }
      });
  for (int64_t row = 0; row < s.structures * 3; ++row)
    for (int64_t c = 0; c < 3; ++c) {
      T value = 0;
      for (int64_t part = 0; part < s.parts; ++part) value += out.virials[(part * s.structures * 3 + row) * 4 + c];
      out.virial[row * 3 + c] = value;
    }
  return error;
}

template <ffi::DataType D, class Binding>
auto with_pairs(Binding&& binding) {
  return std::move(binding)
      .template Arg<Array<D>>()  // lengths
      .template Arg<Flags>()     // mask
      .template Arg<Indices>()   // centers
      .template Arg<Indices>()   // others
      .template Arg<Indices>();  // structure
}

template <ffi::DataType D, class Binding>
auto with_model(Binding&& binding) {
  return with_pairs<D>(std::move(binding))
      .template Arg<Array<D>>()   // cutoffs
      .template Arg<Array<D>>()   // charges
      .template Arg<Array<D>>()   // alphas
      .template Arg<Array<D>>();  // periods
}

template <class Binding>
auto with_attributes(Binding&& binding) {
  return std::move(binding).template Attr<int64_t>("variant").template Attr<int64_t>("columns");
}

template <ffi::DataType D>
XLA_FFI_Error* energies_call(XLA_FFI_CallFrame* frame) {
  static auto* handler =
      with_attributes(with_model<D>(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
                          .template Ret<Array<D>>()   // energies
                          .template Ret<Array<D>>()   // their derivatives: of lengths
                          .template Ret<Array<D>>()   // of atoms
                          .template Ret<Array<D>>())  // sums
          .template Attr<ffi::Span<const double>>("constants")
          .To([](ffi::ThreadPool pool, Array<D> lengths, Flags mask, Indices centers, Indices others, Indices structure,
                 Array<D> cutoffs, Array<D> charges, Array<D> alphas, Array<D> periods, Out<D> found, Out<D> of_lengths,
                 Out<D> of_atoms, Out<D> sums, int64_t variant, int64_t columns, ffi::Span<const double> constants) {
            return safely([&] {
              return energies<D>(pool, {lengths, mask, centers, others, structure},
                                 {cutoffs, charges, alphas, periods, constants}, found, of_lengths, of_atoms, sums,
                                 variant, columns);
            });
          })
          .release();
  return handler->Call(frame);
}

template <ffi::DataType D>
XLA_FFI_Error* slopes_call(XLA_FFI_CallFrame* frame) {
  static auto* handler =
      with_attributes(with_model<D>(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
                          .template Arg<Array<D>>()   // cotangents
                          .template Arg<Array<D>>()   // known derivatives: of lengths
                          .template Arg<Array<D>>()   // of atoms
                          .template Ret<Array<D>>()   // of lengths
                          .template Ret<Array<D>>()   // of atoms
                          .template Ret<Array<D>>())  // sums
          .template Attr<ffi::Span<const double>>("constants")
          .To([](ffi::ThreadPool pool, Array<D> lengths, Flags mask, Indices centers, Indices others, Indices structure,
                 Array<D> cutoffs, Array<D> charges, Array<D> alphas, Array<D> periods, Array<D> cotangents,
                 Array<D> known_lengths, Array<D> known_atoms, Out<D> lengths_back, Out<D> atoms_back, Out<D> sums,
                 int64_t variant, int64_t columns, ffi::Span<const double> constants) {
            return safely([&] {
              return slopes<D>(pool, {lengths, mask, centers, others, structure},
                               {cutoffs, charges, alphas, periods, constants}, cotangents, known_lengths, known_atoms,
                               lengths_back, atoms_back, sums, variant, columns);
            });
          })
          .release();
  return handler->Call(frame);
}

template <ffi::DataType D>
XLA_FFI_Error* push_call(XLA_FFI_CallFrame* frame) {
  static auto* handler = with_attributes(with_pairs<D>(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>())
                                             .template Arg<Array<D>>()   // vectors
                                             .template Arg<Array<D>>()   // slopes
                                             .template Ret<Array<D>>()   // forces
                                             .template Ret<Array<D>>()   // virial
                                             .template Ret<Array<D>>()   // sums
                                             .template Ret<Array<D>>())  // virials
                             .To([](ffi::ThreadPool pool, Array<D> lengths, Flags mask, Indices centers, Indices others,
                                    Indices structure, Array<D> vectors, Array<D> gradient, Out<D> forces,
                                    Out<D> virial, Out<D> sums, Out<D> virials, int64_t variant, int64_t columns) {
                               return safely([&] {
                                 return push<D>(pool, {lengths, mask, centers, others, structure}, vectors, gradient,
                                                forces, virial, sums, virials, variant, columns);
                               });
                             })
                             .release();
  return handler->Call(frame);
}

}  // namespace

void add_far_targets(nb::dict& found) {
  found["so3krates_far_energies_f32"] = capsule(energies_call<ffi::F32>);
  found["so3krates_far_energies_f64"] = capsule(energies_call<ffi::F64>);
  found["so3krates_far_slopes_f32"] = capsule(slopes_call<ffi::F32>);
  found["so3krates_far_slopes_f64"] = capsule(slopes_call<ffi::F64>);
  found["so3krates_far_push_f32"] = capsule(push_call<ffi::F32>);
  found["so3krates_far_push_f64"] = capsule(push_call<ffi::F64>);
}

}  // namespace so3krates
