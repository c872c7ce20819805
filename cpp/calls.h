// FFI calls with any number of arrays: what they are given, taken one after another and checked, and how they are known
// to JAX.
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <utility>

#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace so3krates {

// Takes arrays one after another from the arguments of a call, or from its results.
template <xla::ffi::DataType D, class Remaining>
class Arrays {
 public:
  using T = xla::ffi::NativeType<D>;
  explicit Arrays(const Remaining& all) : all_(all) {}

  template <class A = T>
  A* take(xla::ffi::DataType type, int64_t elements) {
    const auto found = all_.template get<xla::ffi::AnyBuffer>(next_++);
    if (!found.has_value()) return fail("too few arrays");
    const xla::ffi::AnyBuffer array = buffer(*found);
    if (array.element_type() != type) return fail("an array of another type");
    if (static_cast<int64_t>(array.element_count()) != elements)
      return fail("array " + std::to_string(next_ - 1) + " has " + std::to_string(array.element_count()) +
                  " numbers, not " + std::to_string(elements) +
                  "; were parameters arranged for another instruction set or precision?");
    return reinterpret_cast<A*>(array.untyped_data());
  }
  T* numbers(int64_t elements) { return take(D, elements); }
  const std::string& error() const { return error_; }

 private:
  static xla::ffi::AnyBuffer buffer(const xla::ffi::AnyBuffer& array) { return array; }
  static xla::ffi::AnyBuffer buffer(xla::ffi::Result<xla::ffi::AnyBuffer> array) { return *array; }
  std::nullptr_t fail(const std::string& why) {
    if (error_.empty()) error_ = why;
    return nullptr;
  }

  const Remaining& all_;
  size_t next_ = 0;
  std::string error_;
};

// Numbers that a call is told, by their names.
class Attributes {
 public:
  explicit Attributes(const xla::ffi::Dictionary& all) : all_(all) {}

  int64_t integer(const char* name) { return get<int64_t>(name); }
  double number(const char* name) { return get<double>(name); }

  // The last name that was asked for in vain; empty if there was none.
  const std::string& missing() const { return missing_; }

 private:
  template <class A>
  A get(const char* name) {
    const auto found = all_.get<A>(name);
    if (!found.has_value()) missing_ = name;
    return found.has_value() ? *found : A(0);
  }

  const xla::ffi::Dictionary& all_;
  std::string missing_;
};

using Handler = xla::ffi::Error (*)(xla::ffi::ThreadPool, xla::ffi::RemainingArgs, xla::ffi::RemainingRets,
                                    xla::ffi::Dictionary);

// No exception may leave for XLA.
template <class Work>
xla::ffi::Error safely(const Work& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    return xla::ffi::Error::Internal(std::string("compiled kernel: ") + error.what());
  }
}

template <Handler Run>
xla::ffi::Error guarded(xla::ffi::ThreadPool pool, xla::ffi::RemainingArgs args, xla::ffi::RemainingRets results,
                        xla::ffi::Dictionary attributes) {
  return safely([&] { return Run(pool, args, results, attributes); });
}

template <Handler Run>
XLA_FFI_Error* entry(XLA_FFI_CallFrame* frame) {
  static auto* handler = xla::ffi::Ffi::Bind()
                             .Ctx<xla::ffi::ThreadPool>()
                             .RemainingArgs()
                             .RemainingRets()
                             .Attrs()
                             .To(guarded<Run>)
                             .release();
  return handler->Call(frame);
}

inline nanobind::capsule capsule(XLA_FFI_Error* (*call)(XLA_FFI_CallFrame*)) {
  return nanobind::capsule(reinterpret_cast<void*>(call));
}

// Helpers for so many pieces of work from XLA's pool.
inline void enlist(Team& team, xla::ffi::ThreadPool& pool, int64_t pieces) {
  team.enlist(std::min({pieces, kMaxThreads, pool.num_threads()}) - 1,
              [&](std::function<void()> help) { pool.Schedule(std::move(help)); });
}

inline xla::ffi::Error result_of(const Team& team) {
  return team.failed() ? xla::ffi::Error::Internal("compiled kernel: out of memory") : xla::ffi::Error::Success();
}

inline xla::ffi::Error refusal(const std::string& why) {
  return xla::ffi::Error::InvalidArgument("compiled kernel: " + why);
}

}  // namespace so3krates
