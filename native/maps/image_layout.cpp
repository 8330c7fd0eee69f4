#include "maps/image_layout.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>

#include <algorithm>

#include "base/parallel.h"
#include "base/pool.h"
#include "base/ranges.h"
#include "maps/transpose.h"

namespace cortorch {
namespace {

constexpr int64_t kVector = 16;  // floats; what brgemm likes its rows to be a multiple of
constexpr int64_t kPixels = 64;  // locations moved together out of a plane

bool has_transpose(const at::Tensor& x) {
  return x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
}

// The tensor's memory in the order [H, W, B, C].
at::Tensor locations(const at::Tensor& x) { return x.permute({2, 3, 0, 1}); }

// x with every example's values in the order of the shape; examples may lie apart, as slices of something larger.
at::Tensor examples(const at::Tensor& x) {
  const int64_t area = x.size(2) * x.size(3);
  const bool ordered = x.stride(3) == 1 && x.stride(2) == x.size(3) && x.stride(1) == area;
  return ordered ? x : x.contiguous();
}

int64_t grain(int64_t values) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, values)); }

}  // namespace

int64_t batch_stride(int64_t batch) { return round_up(batch, kVector); }

at::Tensor empty_location_major(int64_t batch, int64_t channels, int64_t height, int64_t width, at::ScalarType dtype) {
  return pooled_empty({height, width, batch, channels}, dtype).permute({2, 3, 0, 1});
}

at::Tensor location_major(const at::Tensor& x) {
  if (locations(x).is_contiguous()) return x;
  // Out of channels-last whole pixels move, which needs no transposition.
  const bool pixels = !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  if (!has_transpose(x) || pixels) return locations(x).contiguous().permute({2, 3, 0, 1});
  const at::Tensor from = examples(x);
  const int64_t batch = x.size(0), channels = x.size(1), area = x.size(2) * x.size(3), apart = from.stride(0);
  at::Tensor result = empty_location_major(batch, channels, x.size(2), x.size(3), x.scalar_type());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "location_major", [&] {
    const scalar_t* in = from.const_data_ptr<scalar_t>();
    scalar_t* out = result.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, batch, grain(channels * area), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        transpose(in + b * apart, channels, area, area, out + b * channels, batch * channels);
      }
    });
  });
  return result;
}

at::Tensor channels_first(const at::Tensor& x) {
  if (x.is_contiguous()) return x;
  if (!has_transpose(x) || !locations(x).is_contiguous()) return x.contiguous();
  const int64_t batch = x.size(0), channels = x.size(1), area = x.size(2) * x.size(3);
  at::Tensor result = pooled_empty(x.sizes(), x.scalar_type());
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "channels_first", [&] {
    const scalar_t* in = x.const_data_ptr<scalar_t>();
    scalar_t* out = result.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, batch, grain(channels * area), [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        transpose(in + b * channels, area, channels, batch * channels, out + b * channels * area, area);
      }
    });
  });
  return result;
}

at::Tensor channels_last(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? channels_first(x) : x.contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor without_gaps(const at::Tensor& x) { return x.is_non_overlapping_and_dense() ? x : x.contiguous(); }

at::Tensor ordered(const at::Tensor& x) {
  return x.is_contiguous() || x.dim() != 4 ? x.contiguous() : location_major(x);
}

at::Tensor in_order_of(const at::Tensor& x, const at::Tensor& like) {
  if (x.strides() == like.strides()) return x;
  if (like.is_contiguous()) return x.contiguous();
  if (like.dim() == 4 && locations(like).is_contiguous()) return location_major(x);
  at::Tensor result = at::empty_like(like, x.options());
  result.copy_(x);
  return result;
}

bool same_order(const at::Tensor& x, const at::Tensor& like) {
  return x.strides() == like.strides() && x.is_non_overlapping_and_dense();
}

at::Tensor pooled_like(const at::Tensor& like) {
  return like.is_contiguous() ? pooled_empty(like.sizes())
                              : empty_location_major(like.size(0), like.size(1), like.size(2), like.size(3));
}

at::Tensor batch_last(const at::Tensor& x) {
  TORCH_INTERNAL_ASSERT(has_transpose(x));
  const int64_t batch = x.size(0), channels = x.size(1), area = x.size(2) * x.size(3), stride = batch_stride(batch);
  at::Tensor result = pooled_empty({x.size(2), x.size(3), channels, stride}, x.scalar_type());
  const bool by_location = locations(x).is_contiguous();
  const at::Tensor from = by_location ? x : examples(x);
  const int64_t apart = from.stride(0);
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "batch_last", [&] {
    const scalar_t* in = from.const_data_ptr<scalar_t>();
    scalar_t* out = result.mutable_data_ptr<scalar_t>();
    const int64_t blocks = divide_up(area, kPixels);
    at::parallel_for(0, blocks, grain(kPixels * channels * batch), [&](int64_t begin, int64_t end) {
      const int64_t first = begin * kPixels, last = std::min(area, end * kPixels);
      if (by_location) {
        for (int64_t i = first; i < last; ++i) {
          transpose(in + i * batch * channels, batch, channels, channels, out + i * channels * stride, stride);
        }
      } else {
        for (int64_t i = first; i < last; i += kPixels) {
          const int64_t n = std::min(kPixels, last - i);
          for (int64_t c = 0; c < channels; ++c) {
            transpose(in + c * area + i, batch, n, apart, out + (i * channels + c) * stride, channels * stride);
          }
        }
      }
      if (stride == batch) return;
      for (int64_t row = first * channels; row < last * channels; ++row) {
        std::fill_n(out + row * stride + batch, stride - batch, scalar_t{0});
      }
    });
  });
  return result;
}

}  // namespace cortorch
