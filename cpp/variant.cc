// The stages of the network for one instruction set; compiled once for each with other flags (CMakeLists.txt).
#include "block_back.h"
#include "first_layer.h"
#include "geometry.h"
#include "network.h"
#include "nodes.h"
#include "variants.h"

#define SO3K_TEXT(name) #name
#define SO3K_NAME(name) SO3K_TEXT(name)

namespace so3krates {
namespace SO3K_VARIANT {
namespace {

template <class T>
void prepare(const Call<T>& call) {
  Orders<T>::prepare(call);
  index_knots(call);
}

// f and x as they are kept between the layers, and, but where there are tables of types, rows for the first one.
template <class T>
void begin(const Call<T>& call, int64_t first, int64_t last) {
  const Shape& s = call.s;
  const bool zero = s.starts_at_zero;
  for (int64_t atom = first; atom < last; ++atom) {
    T *f = call.scratch.f + atom * s.padded_features, *x = call.scratch.x + atom * s.padded_orders;
    std::memcpy(f, call.in.f + atom * s.features, sizeof(T) * s.features);
    clear(f + s.features, s.padded_features - s.features);
    clear(x, s.padded_orders);
    if (!zero) std::memcpy(x, call.in.x + atom * s.orders, sizeof(T) * s.orders);
  }
  if (!call.by_type()) Nodes<T>::ready(call, 0, first, last - first);
}

template <class T>
void attend(const Call<T>& call, int64_t layer, int64_t number) {
  const Shape& s = call.s;
  const Part& part = call.saved.parts[number];
  T* sums = call.scratch.sums + number * s.atoms * s.message;
  if (part.beyond > part.lowest) clear(sums + part.lowest * s.message, (part.beyond - part.lowest) * s.message);
  if (layer == 0 && call.by_type()) return attend_types(call, number);
  Block<T> block(call, layer);
  for (int64_t start = 0; start < part.count; start += kBlock) {
    block.choose(part, start, layer, sums, s.message);
    block.make_filters(false);
    block.make_scores();
    block.make_weights();
    block.send(sums);
  }
}

template <class T>
void update(const Call<T>& call, int64_t layer, int64_t first, int64_t last) {
  Nodes<T>(call, layer, first, last).run();
}

template <class T>
void receive(const Call<T>& call, int64_t first, int64_t last) {
  const Shape& s = call.s;
  for (int64_t atom = first; atom < last; ++atom) {
    T *f = call.scratch.f + atom * s.padded_features, *x = call.scratch.x + atom * s.padded_orders;
    std::memcpy(f, call.cotangent_f + atom * s.features, sizeof(T) * s.features);
    clear(f + s.features, s.padded_features - s.features);
    std::memcpy(x, call.cotangent_x + atom * s.orders, sizeof(T) * s.orders);
    clear(x + s.orders, s.padded_orders - s.orders);
  }
  Nodes<T>(call, s.layers - 1, first, last).back();
}

template <class T>
void attend_back(const Call<T>& call, int64_t layer, int64_t number) {
  const Shape& s = call.s;
  const Part& part = call.saved.parts[number];
  if (layer == s.layers - 1) {
    clear(call.scratch.harmonics + part.first * s.padded_orders, part.count * s.padded_orders);
    clear(call.scratch.radial + part.first, part.count);
  }
  const bool by_type = layer == 0 && call.by_type();
  if (by_type) {
    attend_types_back(call, number);
  } else {
    T* sums = call.scratch.sums + number * s.atoms * s.row;
    if (part.beyond > part.lowest) clear(sums + part.lowest * s.row, (part.beyond - part.lowest) * s.row);
    if (layer == 0)
      BlockBack<T, true>(call, layer, number).run(part, layer);
    else
      BlockBack<T, false>(call, layer, number).run(part, layer);
  }
  if (layer == 0) vectors_back(call, number);
}

// From the pairs of a layer to what was before it, and on through the exchange of the layer below.
template <class T>
void update_back(const Call<T>& call, int64_t layer, int64_t first, int64_t last) {
  const Shape& s = call.s;
  Nodes<T>(call, layer, first, last).gather();
  if (layer > 0) return Nodes<T>(call, layer - 1, first, last).back();
  for (int64_t atom = first; atom < last; ++atom)
    std::memcpy(call.x + atom * s.orders, call.scratch.x + atom * s.padded_orders, sizeof(T) * s.orders);
}

template <class T>
constexpr Stages<T> stages() {
  return {find_types<T>, make_tables<T>, prepare<T>, measure<T>,     begin<T>,
          attend<T>,     update<T>,      receive<T>, attend_back<T>, update_back<T>};
}

}  // namespace

extern const FarStages<float> far_single;
extern const FarStages<double> far_twofold;
extern const TrainStages<float> train_single;
extern const TrainStages<double> train_twofold;
extern const UpdateStages<float> update_single;
extern const UpdateStages<double> update_twofold;

extern const Variant variant;
const Variant variant = {
    SO3K_NAME(SO3K_VARIANT), SO3K_BYTES,     stages<float>(), stages<double>(), &far_single, &far_twofold,
    &train_single,           &train_twofold, &update_single,  &update_twofold};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
