#include "variants.h"

#include <vector>

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

}  // namespace

const Variant* variant_of(int64_t number) {
  static const std::vector<const Variant*> all = usable();
  return number >= 0 && number < static_cast<int64_t>(all.size()) ? all[number] : nullptr;
}

}  // namespace so3krates
