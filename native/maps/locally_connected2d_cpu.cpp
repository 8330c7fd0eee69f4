#include "maps/locally_connected2d_cpu.h"

#include <ATen/Parallel.h>
#include <ATen/ops/add.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <type_traits>

#include "base/pool.h"
#include "base/ranges.h"
#include "base/scratch.h"
#include "maps/image_layout.h"
#include "maps/micro_kernel.h"
#include "maps/transpose.h"

namespace cortorch::cpu {
namespace {

// Batch rows of one product, and elements of the matrix batch × out channels that it writes or reads: they stay in
// the first-level cache while the weights, of which everything is used once, stream past.
constexpr int64_t kBatch = 256;
constexpr int64_t kTile = 8192;
constexpr int64_t kBatchColumns = 128;
// With fewer channels a tap alone is too shallow a product: the taps of a patch are packed side by side.
constexpr int64_t kFewChannels = 16;
// The adjoint collects neighbouring locations together until they have this many rows.
constexpr int64_t kSegmentRows = 32;
// Multiply-adds that are worth waking a thread for.
constexpr int64_t kMultiplyAdds = int64_t{1} << 16;

// Output channels that go into one product with so many rows of the batch.
int64_t column_block(int64_t rows) { return std::max<int64_t>(64, kTile / rows / 16 * 16); }

// The taps k of 0..kernel for which first + k·dilation lies in `window`.
Range taps_in(Range window, int64_t first, int64_t kernel, int64_t dilation) {
  const int64_t begin = first >= window.begin ? 0 : divide_up(window.begin - first, dilation);
  const int64_t end = first >= window.end ? 0 : divide_up(window.end - first, dilation);
  return {std::min(begin, kernel), std::max(std::min(begin, kernel), std::min(end, kernel))};
}

// Calls body(first tap, count) for pieces of `taps` whose inputs lie side by side.
template <typename Body>
void for_runs(Range taps, int64_t dilation, Body body) {
  if (taps.size() <= 0) return;
  if (dilation == 1) {
    body(taps.begin, taps.size());
  } else {
    for (int64_t k = taps.begin; k < taps.end; ++k) body(k, 1);
  }
}

// A piece of the weights as the kernels compute with it, row-major.
template <typename T>
struct WeightTile {
  const T* data;
  int64_t ld;
};

// The [rows, columns] piece at `weight`: where it lies, or widened into `memory`, which holds one tile: the one that
// was asked for last.
template <typename T, typename W>
WeightTile<T> tile_in(Scratch& memory, const W* weight, int64_t rows, int64_t columns, int64_t ld) {
  if constexpr (std::is_same_v<W, T>) {
    return {weight, ld};
  } else {
    T* widened = memory.get<T>(static_cast<std::size_t>(rows * columns));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) widened[r * columns + c] = static_cast<T>(weight[r * ld + c]);
    }
    return {widened, columns};
  }
}

// Sizes that every kernel wants by a short name.
struct Sizes {
  explicit Sizes(const Conv2dGeometry& g, int64_t batch)
      : batch(batch),
        in(g.in_channels),
        out(g.out_channels),
        out_w(g.out_width()),
        locations(g.out_height() * out_w),
        taps(g.kernel_h * g.kernel_w) {}
  int64_t batch, in, out, out_w, locations, taps;

  int64_t grain() const { return std::max<int64_t>(1, kMultiplyAdds / std::max<int64_t>(1, taps * in * out * batch)); }
};

// y[rows, columns] of one location, tap by tap out of the location-major image. `tile_memory` is the caller's, for one
// tile of the weights at a time.
template <typename W, typename T>
void apply_taps(const Conv2dGeometry& g, const Sizes& n, const W* weight, const T* x, int64_t oh, int64_t ow,
                Range rows, Range columns, Scratch& tile_memory, T* y) {
  const int64_t top = oh * g.stride_h - g.padding_h, left = ow * g.stride_w - g.padding_w;
  const Range kh_range = taps_in({0, g.in_height}, top, g.kernel_h, g.dilation_h);
  const Range kw_range = taps_in({0, g.in_width}, left, g.kernel_w, g.dilation_w);
  bool accumulate = false;
  for (int64_t kh = kh_range.begin; kh < kh_range.end; ++kh) {
    for (int64_t kw = kw_range.begin; kw < kw_range.end; ++kw) {
      const int64_t pixel = (top + kh * g.dilation_h) * g.in_width + left + kw * g.dilation_w;
      const auto w = tile_in<T>(tile_memory, weight + (kh * g.kernel_w + kw) * n.in * n.out + columns.begin, n.in,
                                columns.size(), n.out);
      micro_kernel(rows.size(), columns.size(), n.in, x + (pixel * n.batch + rows.begin) * n.in, n.in, w.data, w.ld,
                   y + rows.begin * n.out + columns.begin, n.out, accumulate);
      accumulate = true;
    }
  }
  if (accumulate) return;
  for (int64_t r = rows.begin; r < rows.end; ++r) std::fill_n(y + r * n.out + columns.begin, columns.size(), T{0});
}

// The patches of `rows` at one location, [rows, taps × in], out of the batch-last image, in which every channel of a
// pixel is a row of its own. `pointers` has room for taps × in.
template <typename T>
void pack_patch(const Conv2dGeometry& g, const Sizes& n, const T* x_last, int64_t oh, int64_t ow, Range rows,
                const T** pointers, T* patch, int64_t ld) {
  alignas(64) static constexpr T outside[kBatch] = {};
  const int64_t top = oh * g.stride_h - g.padding_h, left = ow * g.stride_w - g.padding_w;
  const int64_t stride = batch_stride(n.batch);
  const T** pointer = pointers;
  for (int64_t kh = 0; kh < g.kernel_h; ++kh) {
    const int64_t ih = top + kh * g.dilation_h;
    for (int64_t kw = 0; kw < g.kernel_w; ++kw) {
      const int64_t iw = left + kw * g.dilation_w;
      const bool inside = ih >= 0 && ih < g.in_height && iw >= 0 && iw < g.in_width;
      const T* pixel = x_last + (ih * g.in_width + iw) * n.in * stride + rows.begin;
      for (int64_t c = 0; c < n.in; ++c) *pointer++ = inside ? pixel + c * stride : outside;
    }
  }
  transpose(pointers, n.taps * n.in, rows.size(), patch, ld);
}

// `bias` float, or null: only float32 has the fused epilogue.
template <typename W, typename T>
void apply_kernel(const Conv2dGeometry& g, const Sizes& n, const W* weight, const at::Tensor& x, const float* bias,
                  Activation activation, T* y) {
  const bool few = n.in < kFewChannels;
  const at::Tensor image = few ? batch_last(x) : location_major(x);
  const T* x_data = image.const_data_ptr<T>();
  const int64_t depth = n.taps * n.in, ld = round_up<int64_t>(depth, 16);
  const int64_t block = column_block(std::min(n.batch, kBatch));
  at::parallel_for(0, n.locations, n.grain(), [&](int64_t begin, int64_t end) {
    // The thread's own, for as long as it lives.
    static thread_local Scratch scratch, scratch_pointers, tile_memory;
    const T** pointers = few ? scratch_pointers.get<const T*>(static_cast<std::size_t>(depth)) : nullptr;
    T* patch = few ? scratch.get<T>(static_cast<std::size_t>(std::min(n.batch, kBatch) * ld)) : nullptr;
    for (int64_t location = begin; location < end; ++location) {
      const int64_t oh = location / n.out_w, ow = location % n.out_w;
      const W* w = weight + location * depth * n.out;
      T* y_here = y + location * n.batch * n.out;
      for (int64_t b = 0; b < n.batch; b += kBatch) {
        const Range rows{b, std::min(n.batch, b + kBatch)};
        if (few) pack_patch(g, n, x_data, oh, ow, rows, pointers, patch, ld);
        for (int64_t c = 0; c < n.out; c += block) {
          const Range columns{c, std::min(n.out, c + block)};
          if (few) {
            const auto tile = tile_in<T>(tile_memory, w + c, depth, columns.size(), n.out);
            micro_kernel(rows.size(), columns.size(), depth, patch, ld, tile.data, tile.ld, y_here + b * n.out + c,
                         n.out, false);
          } else {
            apply_taps(g, n, w, x_data, oh, ow, rows, columns, tile_memory, y_here);
          }
          if constexpr (std::is_same_v<T, float>) {
            bias_activation(activation, y_here + b * n.out + c, rows.size(), columns.size(), n.out,
                            bias == nullptr ? nullptr : bias + location * n.out + c);
          }
        }
      }
    }
  });
}

// Every input location collects from the outputs that see it, so nothing is written twice and the order of the
// sums is fixed. A few neighbours of one row are collected together where the channels are few.
template <typename W, typename T>
void adjoint_kernel(const Conv2dGeometry& g, const Sizes& n, const W* v, const at::Tensor& y, const float* bias,
                    Activation activation, T* x) {
  const at::Tensor y_last = batch_last(y);
  const T* y_data = y_last.const_data_ptr<T>();
  const int64_t stride = batch_stride(n.batch);
  const int64_t width = std::min(g.in_width, divide_up(kSegmentRows, n.in));
  const int64_t segments = divide_up(g.in_width, width);
  const int64_t out_h = n.locations / n.out_w;
  at::parallel_for(0, g.in_height * segments, n.grain(), [&](int64_t begin, int64_t end) {
    static thread_local Scratch scratch, tile_memory;  // as above
    T* sum = scratch.get<T>(static_cast<std::size_t>(width * n.in * kBatchColumns));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t ih = task / segments;
      const Range segment{task % segments * width, std::min(g.in_width, (task % segments + 1) * width)};
      // Outputs of a row that have a tap in the segment.
      const int64_t reach = g.dilation_w * (g.kernel_w - 1);
      const int64_t ow_begin = divide_up(std::max<int64_t>(0, segment.begin + g.padding_w - reach), g.stride_w);
      const int64_t ow_end = std::min(n.out_w, (segment.end - 1 + g.padding_w) / g.stride_w + 1);
      for (int64_t b = 0; b < n.batch; b += kBatchColumns) {
        const int64_t columns = std::min(stride - b, kBatchColumns);
        // A single location is overwritten by its first product; a segment's products overlap.
        bool accumulate = segment.size() > 1;
        if (accumulate) std::fill_n(sum, segment.size() * n.in * columns, T{0});
        for (int64_t kh = 0; kh < g.kernel_h; ++kh) {
          const int64_t from = ih + g.padding_h - kh * g.dilation_h;
          if (from < 0 || from % g.stride_h != 0 || from / g.stride_h >= out_h) continue;
          for (int64_t ow = ow_begin; ow < ow_end; ++ow) {
            const int64_t location = from / g.stride_h * n.out_w + ow, left = ow * g.stride_w - g.padding_w;
            for_runs(taps_in(segment, left, g.kernel_w, g.dilation_w), g.dilation_w, [&](int64_t kw, int64_t count) {
              const auto tile = tile_in<T>(tile_memory, v + (location * n.taps + kh * g.kernel_w + kw) * n.in * n.out,
                                           count * n.in, n.out, n.out);
              micro_kernel(count * n.in, columns, n.out, tile.data, tile.ld, y_data + location * n.out * stride + b,
                           stride, sum + (left + kw * g.dilation_w - segment.begin) * n.in * columns, columns,
                           accumulate);
              accumulate = true;
            });
          }
        }
        if (!accumulate) std::fill_n(sum, n.in * columns, T{0});
        const int64_t rows = std::min(n.batch - b, columns);
        for (int64_t i = 0; i < segment.size(); ++i) {
          const int64_t pixel = ih * g.in_width + segment.begin + i;
          T* x_here = x + (pixel * n.batch + b) * n.in;
          transpose(sum + i * n.in * columns, n.in, rows, columns, x_here, n.in);
          if constexpr (std::is_same_v<T, float>) {
            bias_activation(activation, x_here, rows, n.in, n.in, bias == nullptr ? nullptr : bias + pixel * n.in);
          }
        }
      }
    }
  });
}

template <typename W, typename T>
void outer_kernel(const Conv2dGeometry& g, const Sizes& n, const at::Tensor& x, const at::Tensor& delta, W* weight) {
  const at::Tensor x_last = batch_last(x), d = location_major(delta);
  const T* x_data = x_last.const_data_ptr<T>();
  const T* d_data = d.const_data_ptr<T>();
  const int64_t stride = batch_stride(n.batch), block = column_block(n.batch);
  at::parallel_for(0, n.locations, n.grain(), [&](int64_t begin, int64_t end) {
    static thread_local Scratch scratch;
    for (int64_t location = begin; location < end; ++location) {
      const int64_t top = location / n.out_w * g.stride_h - g.padding_h;
      const int64_t left = location % n.out_w * g.stride_w - g.padding_w;
      const Range kw_range = taps_in({0, g.in_width}, left, g.kernel_w, g.dilation_w);
      for (int64_t kh = 0; kh < g.kernel_h; ++kh) {
        const int64_t row = top + kh * g.dilation_h;
        W* w = weight + (location * n.taps + kh * g.kernel_w) * n.in * n.out;
        const bool inside = row >= 0 && row < g.in_height && kw_range.size() > 0;
        const Range inner = inside ? kw_range : Range{0, 0};
        std::fill_n(w, inner.begin * n.in * n.out, W{0});
        std::fill_n(w + inner.end * n.in * n.out, (g.kernel_w - inner.end) * n.in * n.out, W{0});
        for_runs(inner, g.dilation_w, [&](int64_t kw, int64_t count) {
          const T* patch = x_data + (row * g.in_width + left + kw * g.dilation_w) * n.in * stride;
          const int64_t rows = count * n.in;
          W* w_run = w + kw * n.in * n.out;
          for (int64_t c = 0; c < n.out; c += block) {
            const int64_t columns = std::min(n.out - c, block);
            const T* d_here = d_data + location * n.batch * n.out + c;
            if constexpr (std::is_same_v<W, T>) {
              micro_kernel(rows, columns, n.batch, patch, stride, d_here, n.out, w_run + c, n.out, false);
            } else {
              T* wide = scratch.get<T>(static_cast<std::size_t>(rows * columns));
              micro_kernel(rows, columns, n.batch, patch, stride, d_here, n.out, wide, columns, false);
              for (int64_t r = 0; r < rows; ++r) {
                for (int64_t i = 0; i < columns; ++i) w_run[r * n.out + c + i] = static_cast<W>(wide[r * columns + i]);
              }
            }
          }
        });
      }
    }
  });
}

// Calls body(W{}, T{}): the type that weights have in memory, and the one that is computed with.
template <typename Body>
void dispatch(at::ScalarType type, Body body) {
  if (type == at::kFloat) return body(float{}, float{});
  if (type == at::kDouble) return body(double{}, double{});
  TORCH_CHECK(type == at::kBFloat16, "locally_connected2d: expected float32, float64 or bfloat16, but received ", type);
  body(c10::BFloat16{}, float{});
}

// σ(image + bias), bias [H, W, C]: where the kernels have no epilogue.
at::Tensor with_bias(const at::Tensor& image, const at::Tensor& bias, Activation activation) {
  return activate(activation, bias.defined() ? at::add(image, bias.permute({2, 0, 1})) : image);
}

at::ScalarType compute_type(at::ScalarType type) { return type == at::kBFloat16 ? at::kFloat : type; }

}  // namespace

at::Tensor locally_connected2d_apply(const Conv2dGeometry& g, const at::Tensor& weight, const at::Tensor& x,
                                     const at::Tensor& bias, Activation activation) {
  const at::ScalarType type = x.scalar_type(), computed = compute_type(type);
  const Sizes n(g, x.size(0));
  at::Tensor y = empty_location_major(n.batch, n.out, g.out_height(), g.out_width(), computed);
  if (n.batch == 0) return y.to(type);
  const bool fused = computed == at::kFloat;
  const at::Tensor b = bias.defined() ? bias.to(computed) : bias;
  dispatch(type, [&]<typename W, typename T>(W, T) {
    apply_kernel<W, T>(g, n, weight.const_data_ptr<W>(), x.to(computed),
                       fused && b.defined() ? b.const_data_ptr<float>() : nullptr, activation, y.mutable_data_ptr<T>());
  });
  return fused ? y.to(type) : with_bias(y, b, activation);
}

at::Tensor locally_connected2d_adjoint(const Conv2dGeometry& g, const at::Tensor& v, const at::Tensor& y,
                                       const at::Tensor& c, Activation activation) {
  const at::ScalarType type = y.scalar_type(), computed = compute_type(type);
  const Sizes n(g, y.size(0));
  at::Tensor x = empty_location_major(n.batch, n.in, g.in_height, g.in_width, computed);
  if (n.batch == 0) return x.to(type);
  const bool fused = computed == at::kFloat;
  const at::Tensor b = c.defined() ? c.to(computed) : c;
  dispatch(type, [&]<typename W, typename T>(W, T) {
    adjoint_kernel<W, T>(g, n, v.const_data_ptr<W>(), y.to(computed),
                         fused && b.defined() ? b.const_data_ptr<float>() : nullptr, activation,
                         x.mutable_data_ptr<T>());
  });
  return fused ? x.to(type) : with_bias(x, b, activation);
}

at::Tensor locally_connected2d_outer(const Conv2dGeometry& g, const at::Tensor& x, const at::Tensor& delta) {
  const at::ScalarType type = x.scalar_type(), computed = compute_type(type);
  const Sizes n(g, x.size(0));
  at::Tensor w = pooled_empty({g.out_height(), g.out_width(), g.kernel_h, g.kernel_w, n.in, n.out}, type);
  if (n.batch == 0) return w.zero_();
  dispatch(type, [&]<typename W, typename T>(W, T) {
    outer_kernel<W, T>(g, n, x.to(computed), delta.to(computed), w.mutable_data_ptr<W>());
  });
  return w;
}

}  // namespace cortorch::cpu
