// Pairs that count, chosen from all, so that nothing is computed for those beyond the cutoff and for padding.
#pragma once

#include <cstring>

#include "far_pairs.h"
#include "simd.h"

namespace so3krates {
namespace SO3K_VARIANT {

constexpr int kFarBlock = 128;                 // pairs that are computed at a time: all their numbers stay in the cache
constexpr int kFarRoom = kFarBlock + 16;       // and what a last register takes beyond them
constexpr int kFarFull = kFarBlock - 16;       // with so little room left, a block is full

// Blocks of pairs of a part, each of one structure.
template <class T>
class FarChoice {
 public:
  int count = 0;
  int64_t structure = 0;
  int64_t place[kFarRoom];
  int32_t center[kFarRoom], other[kFarRoom];

  FarChoice(const FarShape& s, const FarPairs<T>& pairs, int64_t part)
      : s_(s), pairs_(pairs), next_(far_start(s, part)), end_(far_start(s, part + 1)) {
    if (s.columns > 0) row_ = next_ / s.columns;
  }

  // The next block, of pairs for which `counts(pair, structure)`; `seen(first, last)` hears of every pair before that.
  // False: there are no more.
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
      // Without branches: which pairs count is as good as random.
      for (int64_t n = next_; n < last; ++n) {
        place[count] = n;
        count += counts(n, structure) ? 1 : 0;
      }
      if (s_.columns > 0) {
        name_in_table(before);
        if (last == (row_ + 1) * s_.columns) ++row_;
      } else {
        for (int n = before; n < count; ++n) {
          center[n] = pairs_.centers[place[n]];
          other[n] = pairs_.others[place[n]];
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

  // Adds values of the pairs to two of the columns of sums (atoms, width): `to_centers` to the first atoms, and
  // `to_others` to the second ones.
  template <int columns, int width>
  void add(const T (&to_centers)[columns][kFarRoom], const T (&to_others)[columns][kFarRoom], T* sums) const {
    int32_t own = center[0];
    T mine[columns] = {};
    for (int n = 0; n < count; ++n) {
      if (center[n] != own) {
        for (int c = 0; c < columns; ++c) sums[own * static_cast<int64_t>(width) + c] += mine[c];
        for (int c = 0; c < columns; ++c) mine[c] = 0;
        own = center[n];
      }
      T* theirs = sums + other[n] * static_cast<int64_t>(width);
      for (int c = 0; c < columns; ++c) mine[c] += to_centers[c][n];
      for (int c = 0; c < columns; ++c) theirs[c] += to_others[c][n];
    }
    for (int c = 0; c < columns; ++c) sums[own * static_cast<int64_t>(width) + c] += mine[c];
  }

 private:
  const FarShape& s_;
  const FarPairs<T>& pairs_;
  int64_t next_, end_, row_ = 0;

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
    const int64_t first = row_ * s_.columns;
    for (int n = before; n < count; ++n) {
      const int64_t ahead = row_ + (place[n] - first) + 1;
      center[n] = static_cast<int32_t>(row_);
      other[n] = static_cast<int32_t>(ahead < s_.atoms ? ahead : ahead - s_.atoms);
    }
  }
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
