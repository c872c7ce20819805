// The arrays of an FFI call, taken one after another and checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

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

}  // namespace so3krates
