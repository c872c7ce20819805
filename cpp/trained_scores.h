// Attention of both directions of a pair, and its derivatives. Scores s = Σ_k q_ik w_ij,k k_jk over a chunk,
// coefficients α = φ s / c, messages Σ_j α v_j for f and Σ_j α Y_lm for x. All is linear in each of its factors, so
// that all derivatives are sums of the same kind.
#pragma once

#include <cstring>

#include "simd.h"
#include "training.h"

namespace so3krates {
namespace SO3K_VARIANT {

// Numbers side by side in a chunk, a register at a time. Where the width is no multiple of the lanes the last register
// overlaps the one before, and `fresh` is zero in lanes that were seen; a chunk shorter than a register goes number by
// number.
template <class T>
class Columns {
 public:
  explicit Columns(int64_t width) : width_(width) {
    const int64_t lanes = Simd<T>::lanes, seen = (lanes - width % lanes) % lanes;
    for (int64_t n = 0; n < lanes; ++n) fresh_[n] = n < seen ? T(0) : T(1);
  }

  // `work(at, fresh)`, with one number in place of a register where there is no room for one.
  template <class Work>
  SO3K_INLINE void each(const Work& work) const {
    constexpr int64_t lanes = Simd<T>::lanes;
    int64_t at = 0;
    for (; at + lanes <= width_; at += lanes) work(at, all<T>(1));
    if (at == width_) return;
    if (width_ >= lanes) return work(width_ - lanes, fresh_);
    for (; at < width_; ++at) work(at, T(1));
  }

 private:
  int64_t width_;
  Vec<T> fresh_{};
};

// A sum over a chunk, in registers or by numbers.
template <class T>
struct ChunkSum {
  Vec<T> registers{};
  T numbers = 0;

  SO3K_INLINE void operator+=(Vec<T> more) { registers += more; }
  SO3K_INLINE void operator+=(T more) { numbers += more; }
  SO3K_INLINE T total() const { return sum<T>(registers) + numbers; }
};

// What both atoms of a pair have in one chunk.
template <class P>
struct Ends {
  P *center_query, *center_key, *other_query, *other_key;
};
template <class P>
struct Both {
  P *center, *other;
};

template <class T, bool ByKind>
class TrainedScores {
 public:
  TrainedScores(const TrainCall<T>& call, int64_t part)
      : call_(call),
        s_(call.s),
        atoms_(call.scratch[part].atoms),
        factors_(call.scratch[part].factors),
        columns_{Columns<T>(s_.features / s_.heads), Columns<T>(s_.features / s_.degrees_count)} {}

  void forward(int64_t first, int64_t last) {
    over(first, last, [&](const Place& at) {
      if constexpr (!ByKind) make_scores(at);
      const T center = call_.scores[at.score], other = call_.scores[at.score + directions()];
      const T alpha = at.scale * call_.phi[at.pair] * center, beta = at.scale * call_.phi[at.pair] * other;
      const Both<const T> carried = sent(call_.carried, call_.harmonics, at);
      const Both<T> out = messages(at);
      each_message(at, [&](int64_t k, auto fresh) {
        using V = decltype(fresh);
        add(out.center + k, fresh * alpha * get<V>(carried.other + k));
        add(out.other + k, fresh * (at.parity * beta) * get<V>(carried.center + k));
      });
    });
  }

  // From f_back and x_back, or with `more` on top of their derivatives with respect to the scores.
  void back(int64_t first, int64_t last) {
    clear_geometry(first, last);
    over(first, last, [&](const Place& at) {
      message_back(at);
      if constexpr (ByKind) return;
      const Ends<const T> a = ends(call_.rows, at);
      const Ends<T> out = row_sums(at);
      const T* const w = call_.values + at.value;
      T* const values = call_.values_back + at.value;
      const T center = call_.scores_back[at.score], other = call_.scores_back[at.score + directions()];
      columns_[at.half].each([&](int64_t k, auto fresh) {
        using V = decltype(fresh);
        const V cq = get<V>(a.center_query + k), ck = get<V>(a.center_key + k);
        const V oq = get<V>(a.other_query + k), ok = get<V>(a.other_key + k);
        const V filter = get<V>(w + k) * fresh, to_center = filter * center, to_other = filter * other;
        put(values + k, cq * ok * center + oq * ck * other);
        add(out.center_query + k, to_center * ok);
        add(out.other_key + k, to_center * cq);
        add(out.other_query + k, to_other * ck);
        add(out.center_key + k, to_other * oq);
      });
    });
  }

  // The derivative of `back`, given its factors, those of the filters for this block.
  void second(int64_t first, int64_t last) {
    over(first, last, [&](const Place& at) {
      if constexpr (ByKind) {
        const T* const factor =
            factors_ + (at.pair - first) * kDirections * s_.chunks() + at.half * s_.heads + at.chunk;
        return message_second(at, factor[0], factor[s_.chunks()]);
      }
      const Ends<const T> a = ends(call_.rows, at), b = ends(call_.rows_factors, at);
      const Ends<T> out = row_sums(at);
      const T* const w = call_.values + at.value;
      T* const values = call_.values_out + at.value;
      const T center = call_.scores_back[at.score], other = call_.scores_back[at.score + directions()];
      const T* const factor = factors_ + ((at.pair - first) * kFilters + at.half) * s_.columns + at.chunk * at.width;
      ChunkSum<T> to_center, to_other;
      columns_[at.half].each([&](int64_t k, auto fresh) {
        using V = decltype(fresh);
        const V cq = get<V>(a.center_query + k), ck = get<V>(a.center_key + k);
        const V oq = get<V>(a.other_query + k), ok = get<V>(a.other_key + k);
        const V dcq = get<V>(b.center_query + k), dck = get<V>(b.center_key + k);
        const V doq = get<V>(b.other_query + k), dok = get<V>(b.other_key + k);
        const V filter = get<V>(w + k), change = get<V>(factor + k);
        const V both_center = dcq * ok + cq * dok, both_other = doq * ck + oq * dck;
        to_center += fresh * (filter * both_center + change * (cq * ok));
        to_other += fresh * (filter * both_other + change * (oq * ck));
        put(values + k, both_center * center + both_other * other);
        const V of_center = fresh * center, of_other = fresh * other;
        add(out.center_query + k, of_center * (filter * dok + change * ok));
        add(out.other_key + k, of_center * (filter * dcq + change * cq));
        add(out.other_query + k, of_other * (filter * dck + change * ck));
        add(out.center_key + k, of_other * (filter * doq + change * oq));
      });
      message_second(at, to_center.total(), to_other.total());
    });
  }

 private:
  // A chunk of a pair: what it is scaled by, and where it stands in rows of atoms, among the scores and the filters.
  // Of a degree also where its orders are, how many, and the sign they have from the other end.
  struct Place {
    int half;
    int64_t pair, center, other, chunk, width, score, value, order, orders;
    T scale, parity;
  };

  template <class V>
  static SO3K_INLINE V get(const T* from) {
    V value;
    std::memcpy(&value, from, sizeof(V));
    return value;
  }
  template <class V>
  static SO3K_INLINE void put(T* to, V value) {
    std::memcpy(to, &value, sizeof(V));
  }
  template <class V>
  static SO3K_INLINE void add(T* to, V value) {
    put(to, get<V>(to) + value);
  }

  int64_t directions() const { return s_.pairs * s_.chunks(); }

  template <class Work>
  SO3K_INLINE void over(int64_t first, int64_t last, const Work& work) {
    const int64_t head = s_.features / s_.heads, chunk = s_.features / s_.degrees_count;
    for (int64_t p = first; p < last; ++p) {
      const int64_t center = call_.centers[p], other = call_.others[p], value = p * kFilters * s_.features;
      int64_t score = p * s_.chunks(), order = 0;
      for (int64_t n = 0; n < s_.heads; ++n)
        work({0, p, center, other, n, head, score++, value + n * head, 0, 0, static_cast<T>(s_.scale_f), T(1)});
      for (int64_t n = 0; n < s_.degrees_count; ++n) {
        const int64_t orders = 2 * s_.degrees[n] + 1;
        work({1, p, center, other, n, chunk, score++, value + s_.features + n * chunk, order, orders,
              static_cast<T>(s_.scale_x), s_.degrees[n] % 2 ? T(-1) : T(1)});
        order += orders;
      }
    }
  }

  SO3K_INLINE void make_scores(const Place& at) const {
    const Ends<const T> a = ends(call_.rows, at);
    const T* const w = call_.values + at.value;
    ChunkSum<T> to_center, to_other;
    columns_[at.half].each([&](int64_t k, auto fresh) {
      using V = decltype(fresh);
      const V filter = get<V>(w + k) * fresh;
      to_center += get<V>(a.center_query + k) * filter * get<V>(a.other_key + k);
      to_other += get<V>(a.other_query + k) * filter * get<V>(a.center_key + k);
    });
    call_.scores[at.score] = to_center.total();
    call_.scores[at.score + directions()] = to_other.total();
  }

  // `work` for the numbers of a message: a head's of the values, or the orders of a degree.
  template <class Work>
  SO3K_INLINE void each_message(const Place& at, const Work& work) const {
    if (at.half == 0) return columns_[0].each(work);
    for (int64_t m = 0; m < at.orders; ++m) work(m, T(1));
  }

  // From messages back to scores, values of atoms, φ and harmonics.
  SO3K_INLINE void message_back(const Place& at) {
    const Both<const T> carried = sent(call_.carried, call_.harmonics, at), back = received(at);
    const T slope = at.scale * call_.phi[at.pair];
    const T s_center = call_.scores[at.score], s_other = call_.scores[at.score + directions()];
    const T alpha = slope * s_center, beta = slope * s_other * at.parity;
    ChunkSum<T> center, other;
    const Both<T> out = carried_out(at);
    each_message(at, [&](int64_t k, auto fresh) {
      using V = decltype(fresh);
      const V g_center = get<V>(back.center + k), g_other = get<V>(back.other + k);
      center += fresh * g_center * get<V>(carried.other + k);
      other += fresh * g_other * get<V>(carried.center + k);
      if (out.center == nullptr) return;
      add(out.other + k, fresh * alpha * g_center);
      add(out.center + k, fresh * beta * g_other);
    });
    const T of_center = center.total(), of_other = at.parity * other.total();
    if (call_.phi_out != nullptr) call_.phi_out[at.pair] += at.scale * (of_center * s_center + of_other * s_other);
    const bool more = call_.scores_more != nullptr;
    call_.scores_back[at.score] = slope * of_center + (more ? call_.scores_more[at.score] : T(0));
    call_.scores_back[at.score + directions()] =
        slope * of_other + (more ? call_.scores_more[at.score + directions()] : T(0));
  }

  // The derivative of the above; `center` and `other` are what multiplies the derivatives with respect to the scores.
  SO3K_INLINE void message_second(const Place& at, T center, T other) {
    const Both<const T> carried = sent(call_.carried, call_.harmonics, at), back = received(at);
    const Both<const T> factors = sent(call_.carried_factors, call_.harmonics_factors, at);
    const T phi = call_.phi[at.pair], phi_factor = call_.phi_factors[at.pair], slope = at.scale * phi;
    const T s_center = call_.scores[at.score], s_other = call_.scores[at.score + directions()];
    const T alpha = slope * s_center, beta = slope * s_other * at.parity;
    const T to_center = at.scale * (phi_factor * s_center + phi * center);
    const T to_other = at.scale * (phi_factor * s_other + phi * other) * at.parity;
    const Both<T> out = messages(at), carried_sums = value_sums(at);
    ChunkSum<T> carried_center, carried_other, factor_center, factor_other;
    each_message(at, [&](int64_t k, auto fresh) {
      using V = decltype(fresh);
      const V g_center = get<V>(back.center + k), g_other = get<V>(back.other + k);
      const V c_center = get<V>(carried.center + k), c_other = get<V>(carried.other + k);
      const V u_center = get<V>(factors.center + k), u_other = get<V>(factors.other + k);
      carried_center += fresh * g_center * c_other;
      carried_other += fresh * g_other * c_center;
      factor_center += fresh * g_center * u_other;
      factor_other += fresh * g_other * u_center;
      add(out.center + k, fresh * (alpha * u_other + to_center * c_other));
      add(out.other + k, fresh * (beta * u_center + to_other * c_center));
      if (at.half == 1) return;
      add(carried_sums.other + k, fresh * to_center * g_center);
      add(carried_sums.center + k, fresh * to_other * g_other);
    });
    call_.scores_out[at.score] = slope * factor_center.total() + at.scale * phi_factor * carried_center.total();
    call_.scores_out[at.score + directions()] =
        at.parity * (slope * factor_other.total() + at.scale * phi_factor * carried_other.total());
  }

  void clear_geometry(int64_t first, int64_t last) {
    if (call_.phi_out == nullptr) return;
    for (int64_t p = first; p < last; ++p) call_.phi_out[p] = 0;
    for (int64_t n = first * s_.orders; n < last * s_.orders; ++n) call_.harmonics_out[n] = 0;
  }

  // What messages carry: a head of the values of each atom, or one degree of the harmonics of the pair.
  SO3K_INLINE Both<const T> sent(const T* carried, const T* harmonics, const Place& at) const {
    const T* const own = harmonics + at.pair * s_.orders + at.order;
    if (at.half == 1) return {own, own};
    const int64_t start = at.chunk * at.width;
    return {carried + at.center * s_.features + start, carried + at.other * s_.features + start};
  }

  SO3K_INLINE Both<const T> received(const Place& at) const {
    if (at.half == 1)
      return {call_.x_back + at.center * s_.orders + at.order, call_.x_back + at.other * s_.orders + at.order};
    const int64_t start = at.chunk * at.width;
    return {call_.f_back + at.center * s_.features + start, call_.f_back + at.other * s_.features + start};
  }

  // Sums of atoms, see TrainShape.
  SO3K_INLINE Both<T> sums(const Place& at, int64_t start) const {
    return {atoms_ + at.center * s_.sums + start, atoms_ + at.other * s_.sums + start};
  }
  SO3K_INLINE Both<T> value_sums(const Place& at) const { return sums(at, 2 * s_.row + at.chunk * at.width); }
  SO3K_INLINE Both<T> messages(const Place& at) const {
    return sums(at, 2 * s_.row + s_.features + (at.half == 0 ? at.chunk * at.width : s_.features + at.order));
  }
  SO3K_INLINE Both<T> carried_out(const Place& at) const {
    if (at.half == 0) return value_sums(at);
    if (call_.harmonics_out == nullptr) return {nullptr, nullptr};
    T* const own = call_.harmonics_out + at.pair * s_.orders + at.order;
    return {own, own};
  }
  SO3K_INLINE Ends<T> row_sums(const Place& at) const {
    const Both<T> both = sums(at, at.half * s_.row + at.chunk * 2 * at.width);
    return {both.center, both.center + at.width, both.other, both.other + at.width};
  }

  SO3K_INLINE Ends<const T> ends(const T* const* rows, const Place& at) const {
    const T* const start = rows[at.half] + at.chunk * 2 * at.width;
    const T *const center = start + at.center * s_.row, *const other = start + at.other * s_.row;
    return {center, center + at.width, other, other + at.width};
  }

  const TrainCall<T>& call_;
  const TrainShape& s_;
  T *const atoms_, *const factors_;
  const Columns<T> columns_[kFilters];
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
