// The stages of attention for one instruction set; compiled once for each with other flags (CMakeLists.txt).
#include <cstring>

#include "attention.h"
#include "block.h"
#include "block_back.h"
#include "products.h"

#define SO3K_TEXT(name) #name
#define SO3K_NAME(name) SO3K_TEXT(name)

namespace so3krates {
namespace SO3K_VARIANT {
namespace {

// out (atoms, chunks of padded width) = f (atoms, chunks of width), each chunk times its own matrix.
template <class T>
void by_chunks(const T* f, int64_t f_stride, int64_t atoms, int64_t chunks, int64_t width, int64_t padded,
               const T* matrices, T* out, int64_t out_stride) {
  for (int64_t c = 0; c < chunks; ++c)
    product<T>(f + c * width, f_stride, atoms, {1, width, 0}, matrices + c * width * padded, padded, padded,
               out + c * padded, out_stride, false);
}

template <class T>
void project(const Shape& s, const Inputs<T>& in, const Forward<T>& out, int64_t first, int64_t last) {
  const T* f = in.f + first * s.features;
  T* rows = out.rows + first * s.row;
  const int64_t count = last - first;
  const int64_t places_f[] = {0, s.columns, 2 * s.columns};
  for (int n = 0; n < 3; ++n)
    by_chunks<T>(f, s.features, count, s.heads, s.head_width, s.padded_head,
                 in.project_f + n * s.features * s.padded_head, rows + places_f[n], s.row);
  for (int n = 0; n < 2; ++n)
    by_chunks<T>(f, s.features, count, s.degrees_count, s.chunk_width, s.padded_chunk,
                 in.project_x + n * s.features * s.padded_chunk, rows + places_f[n] + s.columns_f, s.row);
  for (int64_t atom = first; atom < last; ++atom) {
    T* x = out.rows + (atom + 1) * s.row - s.padded_orders;
    for (int64_t c = 0; c < s.padded_orders; ++c) x[c] = s.has_x && c < s.orders ? in.x[atom * s.orders + c] : 0;
  }
}

template <class T>
void attend(const Shape& s, const Inputs<T>& in, const Forward<T>& out, int64_t part) {
  T* sums = out.sums + part * s.atoms * (s.columns_f + s.padded_orders);
  std::memset(static_cast<void*>(sums), 0, sizeof(T) * s.atoms * (s.columns_f + s.padded_orders));
  Block<T> block(s, in);
  for (int64_t next = s.starts[part]; block.fill(next, s.starts[part + 1], out.rows, sums, s.columns_f + s.padded_orders);) {
    block.place();
    block.make_harmonics();
    block.make_filters(out.rows, false);
    block.make_overlaps(out.rows);
    block.make_weights();
    block.send(out.rows, sums);
  }
}

template <class T>
void collect(const Shape& s, const Inputs<T>&, const Forward<T>& out, int64_t first, int64_t last) {
  const int64_t width = s.columns_f + s.padded_orders;
  for (int64_t atom = first; atom < last; ++atom) {
    T* own = out.sums + atom * width;
    for (int64_t part = 1; part < s.parts; ++part) {
      const T* more = own + part * s.atoms * width;
      for (int64_t c = 0; c < width; ++c) own[c] += more[c];
    }
    for (int64_t h = 0; h < s.heads; ++h)
      std::memcpy(out.delta_f + atom * s.features + h * s.head_width, own + h * s.padded_head, sizeof(T) * s.head_width);
    std::memcpy(out.delta_x + atom * s.orders, own + s.columns_f, sizeof(T) * s.orders);
  }
}

template <class T>
void receive(const Shape& s, const Inputs<T>&, const Backward<T>& out, int64_t first, int64_t last) {
  const int64_t width = s.columns_f + s.padded_orders;
  for (int64_t atom = first; atom < last; ++atom) {
    T* own = out.received + atom * width;
    std::memset(static_cast<void*>(own), 0, sizeof(T) * width);
    for (int64_t h = 0; h < s.heads; ++h)
      std::memcpy(own + h * s.padded_head, out.cotangent_f + atom * s.features + h * s.head_width,
                  sizeof(T) * s.head_width);
    std::memcpy(own + s.columns_f, out.cotangent_x + atom * s.orders, sizeof(T) * s.orders);
  }
}

template <class T>
void attend_back(const Shape& s, const Inputs<T>& in, const Backward<T>& out, int64_t part) {
  std::memset(static_cast<void*>(out.sums + part * s.atoms * s.row), 0, sizeof(T) * s.atoms * s.row);
  BlockBack<T>(s, in, out, part).run(s.starts[part], s.starts[part + 1]);
}

template <class T>
void collect_back(const Shape& s, const Inputs<T>& in, const Backward<T>& out, int64_t first, int64_t last) {
  for (int64_t atom = first; atom < last; ++atom) {
    T* own = out.sums + atom * s.row;
    for (int64_t part = 1; part < s.parts; ++part) {
      const T* more = own + part * s.atoms * s.row;
      for (int64_t c = 0; c < s.row; ++c) own[c] += more[c];
    }
    if (s.has_x) std::memcpy(out.x + atom * s.orders, own + s.row - s.padded_orders, sizeof(T) * s.orders);
  }
  // Chunks of f overlap for heads and degrees, and their padded results would run into each other: through a buffer.
  const int64_t count = last - first, widest = s.padded_head > s.padded_chunk ? s.padded_head : s.padded_chunk;
  Buffer<T> chunk(count * widest);
  const T* rows = out.sums + first * s.row;
  std::memset(static_cast<void*>(out.f + first * s.features), 0, sizeof(T) * count * s.features);
  const int64_t places[] = {0, s.columns, 2 * s.columns};
  for (int x = 0; x < 2; ++x) {
    const int64_t chunks = x ? s.degrees_count : s.heads, width = x ? s.chunk_width : s.head_width;
    const int64_t padded = x ? s.padded_chunk : s.padded_head;
    for (int64_t c = 0; c < chunks; ++c) {
      for (int n = 0; n < (x ? 2 : 3); ++n)
        product<T>(rows + places[n] + (x ? s.columns_f : 0) + c * padded, s.row, count, {1, width, 0},
                   (x ? in.back_x : in.back_f) + (n * s.features + c * width) * padded, padded, padded, chunk, padded,
                   n > 0);
      for (int64_t atom = 0; atom < count; ++atom)
        for (int64_t k = 0; k < width; ++k)
          out.f[(first + atom) * s.features + c * width + k] += chunk[atom * padded + k];
    }
  }
}

template <class T>
constexpr Stages<T> stages() {
  return {project<T>, attend<T>, collect<T>, receive<T>, attend_back<T>, collect_back<T>};
}

}  // namespace

extern const Variant variant;
const Variant variant = {SO3K_NAME(SO3K_VARIANT), SO3K_BYTES, stages<float>(), stages<double>()};

}  // namespace SO3K_VARIANT
}  // namespace so3krates
