// Memory of the stages of one instruction set.
#pragma once

#include <cstdlib>
#include <cstring>
#include <new>

#include "simd.h"

namespace so3krates {
namespace SO3K_VARIANT {

// Memory aligned to cache lines that is released with its owner.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count) : data_(static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 127) / 64 * 64))) {
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator T*() const { return data_; }

 private:
  T* data_;
};

template <class T>
class Zeros : public Buffer<T> {
 public:
  explicit Zeros(int64_t count) : Buffer<T>(count) {
    std::memset(static_cast<void*>(static_cast<T*>(*this)), 0, count * sizeof(T));
  }
};

// Asks for memory ahead of its use, where that follows no pattern that a processor could foresee.
template <class T>
SO3K_INLINE void fetch(const T* from, int64_t count) {
  for (int64_t n = 0; n < count; n += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(from + n, 0, 2);
}

template <class T>
SO3K_INLINE void clear(T* array, int64_t count) {
  std::memset(static_cast<void*>(array), 0, sizeof(T) * count);
}

}  // namespace SO3K_VARIANT
}  // namespace so3krates
