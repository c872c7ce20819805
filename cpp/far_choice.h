// Pairs that count, chosen from all, so that nothing is computed for those beyond the cutoff and for padding.
#pragma once

#include <cstdint>
#include <cstring>

#include "far_pairs.h"
#include "simd.h"

namespace so3krates {
namespace SO3K_VARIANT {

constexpr int kFarBlock = 128;            // pairs that are computed at a time: all their numbers stay in the cache
constexpr int kFarRoom = kFarBlock + 16;  // and what a last register takes beyond them
constexpr int kFarFull = kFarBlock - 16;  // with so little room left, a block is full

// Four numbers of an atom or a pair.
template <class T>
struct Quad {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  typedef T Loose __attribute__((vector_size(4 * sizeof(T)), aligned(alignof(T)), may_alias));

  static SO3K_INLINE const Loose& at(const T* from) { return *reinterpret_cast<const Loose*>(from); }
  static SO3K_INLINE Loose& in(T* place) { return *reinterpret_cast<Loose*>(place); }
};

// For eight flags in the bits of a byte: where the true ones are, in order, and how many they are.
struct FlagPositions {
  int32_t of[256][8];
  uint8_t count[256];

  constexpr FlagPositions() : of(), count() {
    for (int bits = 0; bits < 256; ++bits)
      for (int k = 0; k < 8; ++k)
        if (bits >> k & 1) of[bits][count[bits]++] = k;
  }
};
inline constexpr FlagPositions kFlagPositions;

// A byte for every lane.
template <class T>
struct Bytes {
  typedef uint8_t Vec __attribute__((vector_size(Simd<T>::lanes)));
};

// Blocks of pairs of a part, each of one structure.
template <class T>
class FarChoice {
 public:
  int count = 0;
  int64_t structure = 0;
  int32_t center[kFarRoom], other[kFarRoom];

  FarChoice(const FarShape& s, const FarPairs<T>& pairs, int64_t part)
      : s_(s), pairs_(pairs), start_(far_start(s, part)), next_(start_), end_(far_start(s, part + 1)) {
    if (s.columns > 0) row_ = next_ / s.columns;
  }

  // Which of all pairs one is.
  int64_t pair(int n) const { return start_ + place_[n]; }

  // The next block, of pairs that `counts.flag(pair, structure)` or, for a register of them, `counts.flags` says count;
  // `seen(first, last)` hears of every pair before that. False: there are no more.
  template <class Counts, class Seen>
  bool fill(const Counts& counts, const Seen& seen) {
    count = 0;
    bool known = s_.structures == 1;
    structure = 0;
    while (next_ < end_ && count < kFarFull) {
      int64_t last = next_ + kFarBlock - count;
      if (last > end_) last = end_;
      bool other_structure = false;
      if (s_.columns > 0) {
        const int64_t row_end = (row_ + 1) * s_.columns;
        if (last > row_end) last = row_end;
      } else if (s_.structures > 1) {
        last = same_structure(last, known, other_structure);
      }
      seen(next_, last);
      const int before = count;
      choose(last, counts);
      if (s_.columns > 0) {
        name_in_table(before);
        if (last == (row_ + 1) * s_.columns) ++row_;
      } else {
        for (int n = before; n < count; ++n) {
          center[n] = pairs_.centers[pair(n)];
          other[n] = pairs_.others[pair(n)];
        }
      }
      next_ = last;
      if (other_structure) {
        if (count > 0) break;
        known = false;
      }
    }
    return count > 0;
  }

  // Adds four numbers of every pair to those of its first atom, and another four to those of the second.
  void add(const T (&to_centers)[kFarRoom][4], const T (&to_others)[kFarRoom][4], T* sums) const {
    int64_t own = center[0];
    typename Quad<T>::Four mine{};
    for (int n = 0; n < count; ++n) {
      if (center[n] != own) {
        Quad<T>::in(sums + own * 4) += mine;
        mine = typename Quad<T>::Four{};
        own = center[n];
      }
      T* theirs = sums + other[n] * int64_t{4};
      mine += Quad<T>::at(to_centers[n]);
      Quad<T>::in(theirs) += Quad<T>::at(to_others[n]);
    }
    if (count > 0) Quad<T>::in(sums + own * 4) += mine;
  }

 private:
  const FarShape& s_;
  const FarPairs<T>& pairs_;
  int64_t start_, next_, end_, row_ = 0;
  int32_t place_[kFarRoom];

  // Without branches: which pairs count is as good as random.
  template <class Counts>
  void choose(int64_t last, const Counts& counts) {
    typedef int32_t Places __attribute__((vector_size(32)));
    const int pairs = static_cast<int>(last - next_);
    alignas(64) uint8_t flags[kFarRoom];
    int n = 0;
    for (; n + Simd<T>::lanes <= pairs; n += Simd<T>::lanes) counts.flags(next_ + n, structure, flags + n);
    for (; n < pairs; ++n) flags[n] = counts.flag(next_ + n, structure);
    std::memset(flags + pairs, 0, 8);
    const int32_t first = static_cast<int32_t>(next_ - start_);
    for (n = 0; n < pairs; n += 8) {
      uint64_t eight;
      std::memcpy(&eight, flags + n, 8);
      const int bits = static_cast<int>(eight * 0x0102040810204080u >> 56);  // the first flag becomes the lowest bit
      Places places;
      std::memcpy(&places, kFlagPositions.of[bits], 32);
      places += first + n;
      std::memcpy(place_ + count, &places, 32);
      count += kFlagPositions.count[bits];
    }
  }

  // Up to where pairs belong to the structure of this block, which is that of the first pair that is no padding.
  int64_t same_structure(int64_t last, bool& known, bool& other_structure) {
    for (int64_t n = next_; n < last; ++n) {
      if (!pairs_.mask[n]) continue;
      const int64_t own = pairs_.structure[pairs_.centers[n]];
      if (!known) {
        structure = own;
        known = true;
      } else if (own != structure) {
        other_structure = true;
        return n;
      }
    }
    return last;
  }

  void name_in_table(int before) {
    const int32_t first = static_cast<int32_t>(row_ * s_.columns - start_), row = static_cast<int32_t>(row_);
    const int32_t atoms = static_cast<int32_t>(s_.atoms);
    for (int n = before; n < count; ++n) {
      const int32_t ahead = row + (place_[n] - first) + 1;
      center[n] = row;
      other[n] = ahead < atoms ? ahead : ahead - atoms;
    }
  }
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
