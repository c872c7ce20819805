// From pair vectors to what every layer needs of a pair, and back to the vectors: once in a call, not in every layer.
#pragma once

#include "harmonics.h"
#include "memory.h"
#include "network.h"

namespace so3krates {
namespace SO3K_VARIANT {

// Where to look for a distance among the knots.
template <class T>
void index_knots(const Call<T>& call) {
  const Shape& s = call.s;
  int64_t knot = 0;
  for (int64_t n = 0; n <= kGuide; ++n) {
    const T r = static_cast<T>(n * s.cutoff / kGuide);
    while (knot < s.intervals - 1 && call.in.knots[knot + 1] <= r) ++knot;
    call.saved.guide[n] = static_cast<int32_t>(knot);
  }
}

// The pairs of one part that are within the cutoff.
template <class T>
void measure(const Call<T>& call, int64_t number) {
  constexpr int lanes = Simd<T>::lanes;
  const Shape& s = call.s;
  const Inputs<T>& in = call.in;
  const Saved<T>& to = call.saved;
  Part& part = to.parts[number];
  const T reach = static_cast<T>(s.cutoff * s.cutoff);
  int64_t next = part.first;
  part.lowest = s.atoms;
  part.beyond = 0;
  for (int64_t n = part.from; n < part.to; ++n) {
    if (!in.mask[n]) continue;
    const T* v = in.vectors + 3 * n;
    const T squared = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
    if (!(squared < reach)) continue;
    const int32_t i = in.centers[n], j = in.others[n];
    to.center[next] = i;
    to.other[next] = j;
    to.origin[next] = static_cast<int32_t>(n);
    to.x[next] = v[0];
    to.y[next] = v[1];
    to.z[next] = v[2];
    to.inverse[next] = squared;
    const int64_t low = i < j ? i : j, high = i < j ? j : i;
    if (low < part.lowest) part.lowest = low;
    if (high >= part.beyond) part.beyond = high + 1;
    ++next;
  }
  part.count = next - part.first;
  // What fills the last register: harmless numbers that are never used.
  for (int64_t n = next; n < next + kRoom; ++n) {
    to.x[n] = to.y[n] = 0;
    to.z[n] = to.inverse[n] = 1;
  }
  const Norms norms;
  const int top = s.degrees[s.degrees_count - 1];
  for (int64_t n = part.first; n < next; n += lanes) {
    Vec<T> r;
    for (int lane = 0; lane < lanes; ++lane) r[lane] = __builtin_sqrt(to.inverse[n + lane]);
    const Vec<T> inverted = static_cast<T>(1) / r;
    const Vec<T> x = load(to.x + n) * inverted, y = load(to.y + n) * inverted, z = load(to.z + n) * inverted;
    store(to.inverse + n, inverted);
    store(to.x + n, x);
    store(to.y + n, y);
    store(to.z + n, z);
    store(to.position + n, r);
    T* rows = to.harmonics + n * s.padded_orders;
    harmonics<T>(s, norms, top, x, y, z, rows, s.padded_orders);
    for (int lane = 0; lane < lanes; ++lane)
      for (int64_t c = s.orders; c < s.padded_orders; ++c) rows[lane * s.padded_orders + c] = 0;
  }
  const T per_guide = static_cast<T>(kGuide / s.cutoff);
  for (int64_t n = part.first; n < next; ++n) {
    const T r = to.position[n];
    int64_t k = to.guide[static_cast<int64_t>(r * per_guide)];
    while (k > 0 && r < in.knots[k]) --k;
    while (k < s.intervals - 1 && r >= in.knots[k + 1]) ++k;
    const T width = in.knots[k + 1] - in.knots[k];
    to.knot[n] = static_cast<int32_t>(k);
    const T t = (r - in.knots[k]) / width;
    to.position[n] = t;
    to.stretch[n] = 1 / width;
    const T* table = in.cutoff + 2 * k;
    const T a = table[0], p = table[1] * width, b = table[2], q = table[3] * width;
    const T c2 = 3 * (b - a) - 2 * p - q, c3 = 2 * (a - b) + p + q;
    to.phi[n] = a + t * (p + t * (c2 + t * c3));
    to.phi_slope[n] = (p + t * (2 * c2 + 3 * t * c3)) * to.stretch[n];
  }
}

// From lengths and directions to vectors: ∂E/∂r u + (g − u (u·g))/r.
template <class T>
void vectors_back(const Call<T>& call, int64_t number) {
  constexpr int lanes = Simd<T>::lanes;
  const Shape& s = call.s;
  const Saved<T>& of = call.saved;
  const Part& part = of.parts[number];
  const Norms norms;
  const int top = s.degrees[s.degrees_count - 1];
  clear(call.vectors + 3 * part.from, 3 * (part.to - part.from));
  for (int64_t n = 0; n < part.count; n += lanes) {
    const int64_t at = part.first + n;
    const Vec<T> x = load(of.x + at), y = load(of.y + at), z = load(of.z + at), inverse = load(of.inverse + at);
    Vec<T> g[3];
    harmonics_back<T>(s, norms, top, x, y, z, call.scratch.harmonics + at * s.padded_orders, s.padded_orders, g);
    const Vec<T> along = load(call.scratch.radial + at) - (x * g[0] + y * g[1] + z * g[2]) * inverse;
    const Vec<T> result[3] = {along * x + g[0] * inverse, along * y + g[1] * inverse, along * z + g[2] * inverse};
    for (int lane = 0; lane < lanes && n + lane < part.count; ++lane)
      for (int a = 0; a < 3; ++a) call.vectors[int64_t{3} * of.origin[at + lane] + a] = result[a][lane];
  }
}

// Between two knots: the cubic at t, or its derivative with respect to r; `stretch` is one over their distance.
template <class T>
struct Hermite {
  T h00, h10, h01, h11;  // of the value and slope at the knot before, then at the one behind
  SO3K_INLINE static Hermite values(T t, T stretch) {
    const T t2 = t * t, t3 = t2 * t, width = 1 / stretch;
    return {1 - 3 * t2 + 2 * t3, (t - 2 * t2 + t3) * width, 3 * t2 - 2 * t3, (t3 - t2) * width};
  }
  SO3K_INLINE static Hermite slopes(T t, T stretch) {
    const T rise = 6 * t * (1 - t) * stretch;
    return {-rise, 1 + t * (3 * t - 4), rise, t * (3 * t - 2)};
  }
  // `table` stands at the knot before; rows of `width`.
  SO3K_INLINE Vec<T> at(const T* table, int64_t width) const {
    return h00 * load(table) + h10 * load(table + width) + h01 * load(table + 2 * width) +
           h11 * load(table + 3 * width);
  }
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
