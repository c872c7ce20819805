// What is computed for each atom by itself after attention: norms, residual network and exchange.
#pragma once

#include "first_layer.h"
#include "memory.h"
#include "network.h"
#include "orders.h"
#include "products.h"
#include "projections.h"

namespace so3krates {
namespace SO3K_VARIANT {

// Mean and one over the standard deviation of features.
template <class T>
struct Moments {
  T mean, inverse;
  Moments(const Shape& s, const T* f) {
    T total = 0, squares = 0;
    for (int64_t c = 0; c < s.features; ++c) total += f[c];
    mean = total / static_cast<T>(s.features);
    for (int64_t c = 0; c < s.features; ++c) squares += (f[c] - mean) * (f[c] - mean);
    inverse = static_cast<T>(1 / __builtin_sqrt(squares / static_cast<T>(s.features) + s.epsilon));
  }
};

// LayerNorm with a scale and a shift; padding stays zero.
template <class T>
void normalize(const Shape& s, const T* f, const T* scale, T* out) {
  const Moments<T> m(s, f);
  const T* shift = scale + s.padded_features;
  clear(out + s.features, s.padded_features - s.features);
  for (int64_t c = 0; c < s.features; ++c) out[c] = (f[c] - m.mean) * m.inverse * scale[c] + shift[c];
}

// Replaces cotangents of what it gave by those of `f`.
template <class T>
void normalize_back(const Shape& s, const T* f, const T* scale, T* g) {
  const Moments<T> m(s, f);
  T total = 0, along = 0;
  for (int64_t c = 0; c < s.features; ++c) {
    g[c] *= scale[c];
    total += g[c];
    along += g[c] * (f[c] - m.mean);
  }
  const T shift = total / static_cast<T>(s.features);
  const T slope = along * m.inverse * m.inverse / static_cast<T>(s.features);
  for (int64_t c = 0; c < s.features; ++c) g[c] = m.inverse * (g[c] - shift - slope * (f[c] - m.mean));
}

// out (count, width) = rows of biases, for a product to be added to.
template <class T>
void fill(T* out, int64_t count, int64_t width, const T* bias) {
  for (int64_t n = 0; n < count; ++n) std::memcpy(out + n * width, bias, sizeof(T) * width);
}

template <class T>
struct Nodes {
  static constexpr int lanes = Simd<T>::lanes;
  const Call<T>& call;
  const Shape& s;
  const Saved<T>& saved;
  const int64_t layer, first, count, width;
  const Inputs<T> in;
  const Orders<T> orders;

  Nodes(const Call<T>& call_, int64_t layer_, int64_t first_, int64_t last)
      : call(call_),
        s(call_.s),
        saved(call_.saved),
        layer(layer_),
        first(first_),
        count(last - first_),
        width(s.padded_features),
        in(call_.in.of_layer(s, layer_)),
        orders(call_) {}

  // This layer's row of an array.
  T* features(T* array, int64_t atom) const { return array + (layer * s.atoms + atom) * width; }
  T* euclidean(int64_t atom) const { return saved.euclidean + (layer * s.atoms + atom) * s.padded_orders; }
  T* gates(int64_t atom) const { return saved.gates + (layer * s.atoms + atom) * s.padded_degrees; }
  bool by_type() const { return layer == 0 && call.by_type(); }

  // Messages of all parts in the sums of the first that has any.
  T* collected(int64_t atom) {
    T* own = nullptr;
    for (int64_t part = 0; part < s.parts; ++part) {
      if (atom < saved.parts[part].lowest || atom >= saved.parts[part].beyond) continue;
      T* more = call.scratch.sums + (part * s.atoms + atom) * s.message;
      if (own == nullptr)
        own = more;
      else
        for (int64_t c = 0; c < s.message; c += lanes) store(own + c, load(own + c) + load(more + c));
    }
    return own;
  }

  void run() {
    Buffer<T> now(count * width);
    attended(now);
    if (s.residual) residual(now);
    exchange(now);
  }

  // The skip, then the norm.
  void attended(T* now) {
    Buffer<T> messages(s.f.columns);
    for (int64_t n = 0; n < count; ++n) {
      const int64_t atom = first + n;
      T *f = call.scratch.f + atom * width, *x = call.scratch.x + atom * s.padded_orders,
        *kept = features(saved.attended, atom);
      const T* sums = collected(atom);
      std::memcpy(kept, f, sizeof(T) * width);
      if (sums != nullptr) {
        const T* message = sums;
        if (by_type()) {
          to_messages(call, sums, static_cast<T*>(messages));
          message = messages;
        }
        for (int64_t h = 0; h < s.heads; ++h)
          for (int64_t c = 0; c < s.f.width; ++c) kept[h * s.f.width + c] += message[s.f.at(h) + c];
        const T* step = sums + s.message - s.padded_orders;
        for (int64_t c = 0; c < s.padded_orders; c += lanes) store(x + c, load(x + c) + load(step + c));
      }
      std::memcpy(euclidean(atom), x, sizeof(T) * s.padded_orders);
      if (s.attention_norm)
        normalize(s, kept, in.norms, now + n * width);
      else
        std::memcpy(now + n * width, kept, sizeof(T) * width);
    }
  }

  void residual(T* now) {
    const Inner inner{1, s.features, 0};
    const int64_t step = (s.features + 1) * width;
    Buffer<T> active(count * width);
    for (int64_t c = 0; c < count * width; c += lanes) store(active + c, silu(load(now + c)));
    T* kept = features(saved.hidden, first);
    fill(kept, count, width, in.residual + s.features * width);
    product<T>(active, width, count, inner, in.residual, width, width, kept, width, true);
    for (int64_t c = 0; c < count * width; c += lanes) store(active + c, silu(load(kept + c)));
    const T* bias = in.residual + step + s.features * width;
    for (int64_t n = 0; n < count; ++n)
      for (int64_t c = 0; c < width; c += lanes) store(now + n * width + c, load(now + n * width + c) + load(bias + c));
    product<T>(active, width, count, inner, in.residual + step, width, width, now, width, true);
  }

  static SO3K_INLINE Vec<T> silu(Vec<T> x) { return x * sigmoid<T>(x); }

  // Exchange, the last norm, and f and x for the next layer, or as results.
  void exchange(const T* now) {
    const int64_t inputs = s.features + s.degrees_count, stride = inputs + kMaxDegrees + lanes;
    Buffer<T> given(count * stride), mixed(count * s.exchange);
    for (int64_t n = 0; n < count; ++n) {
      const T* x = euclidean(first + n);
      T* row = given + n * stride;
      std::memcpy(row, now + n * width, sizeof(T) * s.features);
      orders.gathered(x, x, row + s.features);
      for (int l = 0; l < s.degrees_count; ++l) row[s.features + l] *= orders.contraction[l];
    }
    fill(static_cast<T*>(mixed), count, s.exchange, in.exchange + inputs * s.exchange);
    product<T>(given, stride, count, {1, inputs, 0}, in.exchange, s.exchange, s.exchange, mixed, s.exchange, true);
    for (int64_t n = 0; n < count; ++n) {
      const int64_t atom = first + n;
      const T *step = mixed + n * s.exchange, *before = euclidean(atom);
      T *f = call.scratch.f + atom * width, *x = call.scratch.x + atom * s.padded_orders, *gate = gates(atom);
      std::memcpy(gate, step + width, sizeof(T) * s.padded_degrees);
      for (int64_t c = 0; c < s.padded_orders; c += lanes)
        store(x + c, load(before + c) * (static_cast<T>(1) + orders.spread(gate, orders.of_degree, c)));
      for (int64_t c = 0; c < width; c += lanes) store(f + c, load(now + n * width + c) + load(step + c));
      if (s.exchange_norm) {
        T* kept = features(saved.exchanged, atom);
        std::memcpy(kept, f, sizeof(T) * width);
        normalize(s, kept, in.norms + 2 * width, f);
      }
    }
    if (layer + 1 < s.layers) return ready(call, layer + 1, first, count);
    for (int64_t n = first; n < first + count; ++n) {
      std::memcpy(call.f + n * s.features, call.scratch.f + n * width, sizeof(T) * s.features);
      std::memcpy(call.x + n * s.orders, call.scratch.x + n * s.padded_orders, sizeof(T) * s.orders);
    }
  }

  // Rows for the attention of a layer.
  static void ready(const Call<T>& call, int64_t layer, int64_t first, int64_t count) {
    const Shape& s = call.s;
    T* rows = call.saved.rows + (layer * s.atoms + first) * s.row;
    project(s, call.in.of_layer(s, layer), call.scratch.f + first * s.padded_features, s.padded_features, count, rows);
    for (int64_t n = 0; n < count; ++n)
      std::memcpy(rows + (n + 1) * s.row - s.padded_orders, call.scratch.x + (first + n) * s.padded_orders,
                  sizeof(T) * s.padded_orders);
  }

  // --- Back: the cotangents of f and x in `scratch` become those before this layer's exchange and skip ---

  void back() {
    exchange_back();
    if (s.residual) residual_back();
    attended_back();
  }

  void exchange_back() {
    const int64_t inputs = s.features + s.degrees_count, stride = inputs + kMaxDegrees + lanes;
    Buffer<T> given(count * stride), mixed(count * s.exchange);
    for (int64_t n = 0; n < count; ++n) {
      const int64_t atom = first + n;
      T *g = call.scratch.f + atom * width, *row = given + n * stride;
      if (s.exchange_norm) normalize_back(s, features(saved.exchanged, atom), in.norms + 2 * width, g);
      std::memcpy(row, g, sizeof(T) * s.features);
      orders.gathered(call.scratch.x + atom * s.padded_orders, euclidean(atom), row + s.features);
    }
    product<T>(given, stride, count, {1, inputs, 0}, in.exchange_back, s.exchange, s.exchange, mixed, s.exchange,
               false);
    for (int64_t n = 0; n < count; ++n) {
      const int64_t atom = first + n;
      T *g = call.scratch.f + atom * width, *gx = call.scratch.x + atom * s.padded_orders;
      const T *step = mixed + n * s.exchange, *x = euclidean(atom), *gate = gates(atom);
      for (int64_t c = 0; c < width; c += lanes) store(g + c, load(g + c) + load(step + c));
      T twice[kMaxDegrees];
      for (int l = 0; l < s.degrees_count; ++l) twice[l] = 2 * step[width + l] * orders.contraction[l];
      for (int64_t c = 0; c < s.padded_orders; c += lanes)
        store(gx + c, load(gx + c) * (static_cast<T>(1) + orders.spread(gate, orders.of_degree, c)) +
                          load(x + c) * orders.spread(twice, orders.of_degree, c));
    }
  }

  // What the residual network was given.
  void entered(int64_t atom, T* f) const {
    const T* kept = features(saved.attended, atom);
    if (s.attention_norm)
      normalize(s, kept, in.norms, f);
    else
      std::memcpy(f, kept, sizeof(T) * width);
  }

  void residual_back() {
    const Inner inner{1, s.features, 0};
    Buffer<T> g_hidden(count * width), before(count * width);
    T *g = call.scratch.f + first * width, *kept = features(saved.hidden, first);
    product<T>(g, width, count, inner, in.residual_back + s.features * width, width, width, g_hidden, width, false);
    for (int64_t c = 0; c < count * width; c += lanes)
      store(g_hidden + c, load(g_hidden + c) * silu_slope<T>(load(kept + c)));
    product<T>(g_hidden, width, count, inner, in.residual_back, width, width, before, width, false);
    for (int64_t n = 0; n < count; ++n) entered(first + n, g_hidden + n * width);
    for (int64_t c = 0; c < count * width; c += lanes)
      store(g + c, load(g + c) + load(before + c) * silu_slope<T>(load(g_hidden + c)));
  }

  // Through the norm; then the cotangents of the messages, as the pairs read them.
  void attended_back() {
    for (int64_t atom = first; atom < first + count; ++atom) {
      T *g = call.scratch.f + atom * width, *row = call.scratch.received + atom * s.message;
      if (s.attention_norm) normalize_back(s, features(saved.attended, atom), in.norms, g);
      clear(row, s.message);
      std::memcpy(row + s.message - s.padded_orders, call.scratch.x + atom * s.padded_orders,
                  sizeof(T) * s.padded_orders);
      if (!by_type()) {
        heads_apart(g, row);
      } else {
        Zeros<T> apart(s.f.columns);
        heads_apart(g, static_cast<T*>(apart));
        to_types(call, static_cast<T*>(apart), row);
      }
    }
  }

  void heads_apart(const T* f, T* row) const {
    for (int64_t h = 0; h < s.heads; ++h) std::memcpy(row + s.f.at(h), f + h * s.f.width, sizeof(T) * s.f.width);
  }

  // Adds what the attention of this layer gives back: to f and x, or in the first layer to x alone.
  void gather() {
    T* rows = nullptr;
    for (int64_t n = 0; n < count; ++n) {
      const int64_t atom = first + n;
      T* own = call.scratch.sums + atom * s.row;
      if (n == 0) rows = own;
      bool clean = atom < saved.parts[0].lowest || atom >= saved.parts[0].beyond;
      for (int64_t part = 1; part < s.parts; ++part) {
        if (atom < saved.parts[part].lowest || atom >= saved.parts[part].beyond) continue;
        const T* more = own + part * s.atoms * s.row;
        if (clean)
          std::memcpy(own, more, sizeof(T) * s.row);
        else
          for (int64_t c = 0; c < s.row; c += lanes) store(own + c, load(own + c) + load(more + c));
        clean = false;
      }
      if (clean) clear(own, s.row);
      T* gx = call.scratch.x + atom * s.padded_orders;
      const T* step = own + s.row - s.padded_orders;
      for (int64_t c = 0; c < s.padded_orders; c += lanes) store(gx + c, load(gx + c) + load(step + c));
    }
    if (layer > 0) project_back(s, in, rows, count, call.scratch.f + first * width, width);
  }
};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
