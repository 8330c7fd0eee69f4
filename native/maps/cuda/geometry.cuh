// Conv2dGeometry for kernels: 32-bit sizes, division without dividing, and which taps meet which locations.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "maps/conv2d_geometry.h"

namespace cortorch::cuda {

// n / d for 0 ≤ n < 2³¹ by a multiplication (Granlund and Montgomery 1994, figure 4.1).
struct Divisor {
  uint32_t d = 1, magic = 1, shift = 0;

  Divisor() = default;
  __host__ __device__ explicit Divisor(int divisor) : d(divisor < 1 ? 1 : divisor) {
    while ((uint64_t{1} << shift) < d) ++shift;
    magic = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - d)) / d + 1);
  }
  __device__ int quotient(int n) const {
    return static_cast<int>((__umulhi(static_cast<uint32_t>(n), magic) + static_cast<uint32_t>(n)) >> shift);
  }
};

// The taps along one axis that connect one location with something at the other end, in ascending order:
// tap first + i·step meets place first_place + i·place_step.
struct Taps {
  int count, first, step, first_place, place_step;
};

struct Axis {
  int in, out, kernel, stride, padding, dilation;
  int backward_step;  // stride / gcd(stride, dilation): an input meets every so-manieth tap

  // Of the output location `at`: the taps that fall inside of the image.
  __device__ Taps of_output(int at) const {
    const int start = at * stride - padding;
    const int first = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
    const int room = in - 1 - start;  // from the first tap to the last input
    const int last = room < 0 ? -1 : min(kernel - 1, room / dilation);
    return {max(0, last - first + 1), first, 1, start + first * dilation, dilation};
  }

  // Of the input location `at`: the taps by which some output location sees it.
  __device__ Taps of_input(int at) const {
    const int reach = at + padding;  // = place · stride + tap · dilation
    const int beyond = reach - (out - 1) * stride;
    int first = beyond <= 0 ? 0 : (beyond + dilation - 1) / dilation;
    const int last = min(kernel - 1, reach / dilation);
    const int end = first + backward_step;
    while (first < end && (reach - first * dilation) % stride != 0) ++first;
    if (first == end || first > last) return {0, 0, 1, 0, 0};
    return {(last - first) / backward_step + 1, first, backward_step, (reach - first * dilation) / stride,
            -(dilation * backward_step / stride)};
  }
};

struct Geometry {
  Axis h, w;
  int in_channels, out_channels, batch;

  __host__ __device__ int taps() const { return h.kernel * w.kernel; }
};

// A meeting of one location with another by a tap, and one channel of it.
struct Meeting {
  int place, tap, channel;
};

// All that one location meets, and the sum over (tap, channel) as one dense index: a patch with few channels
// wastes no lanes, and taps that meet nothing cost nothing.
class Window {
 public:
  // `width`: places in a row at the other end.
  __device__ Window(Taps h, Taps w, int width, int kernel_w)
      : h_(h), w_(w), width_(width), kernel_w_(kernel_w), columns_(w.count) {}

  __device__ int taps() const { return h_.count * w_.count; }
  __device__ Meeting at(int index, Divisor channels) const {
    const int meeting = channels.quotient(index), i = columns_.quotient(meeting), j = meeting - i * w_.count;
    return {(h_.first_place + i * h_.place_step) * width_ + w_.first_place + j * w_.place_step,
            (h_.first + i * h_.step) * kernel_w_ + w_.first + j * w_.step,
            index - meeting * static_cast<int>(channels.d)};
  }

 private:
  Taps h_, w_;
  int width_, kernel_w_;
  Divisor columns_;
};

inline int gcd(int a, int b) { return b == 0 ? a : gcd(b, a % b); }

// False if something does not fit.
inline bool to_device(const Conv2dGeometry& from, int64_t batch, Geometry& to) {
  const int64_t limit = int64_t{1} << 30;
  // Each factor is bounded before it is multiplied, so that the checks themselves cannot overflow.
  const auto fits = [limit](int64_t a, int64_t b = 1, int64_t c = 1) {
    return a < limit && b < limit && c < limit && a * b < limit && a * b * c < limit;
  };
  const auto axis_fits = [&](int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding,
                             int64_t dilation) {
    return fits(in) && fits(out, stride) && fits(kernel, dilation) && fits(padding) && fits(stride, dilation) &&
           fits(in + 2 * padding);
  };
  if (!axis_fits(from.in_height, from.out_height(), from.kernel_h, from.stride_h, from.padding_h, from.dilation_h) ||
      !axis_fits(from.in_width, from.out_width(), from.kernel_w, from.stride_w, from.padding_w, from.dilation_w) ||
      !fits(from.kernel_h, from.kernel_w, from.in_channels) || !fits(from.kernel_h, from.kernel_w, from.out_channels) ||
      !fits(from.in_height, from.in_width) || !fits(from.out_height(), from.out_width()) || !fits(batch)) {
    return false;
  }
  const auto axis = [](int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    const int s = static_cast<int>(stride), d = static_cast<int>(dilation);
    return Axis{static_cast<int>(in), static_cast<int>(out), static_cast<int>(kernel), s, static_cast<int>(padding), d,
                s / gcd(s, d)};
  };
  to.h = axis(from.in_height, from.out_height(), from.kernel_h, from.stride_h, from.padding_h, from.dilation_h);
  to.w = axis(from.in_width, from.out_width(), from.kernel_w, from.stride_w, from.padding_w, from.dilation_w);
  to.in_channels = static_cast<int>(from.in_channels);
  to.out_channels = static_cast<int>(from.out_channels);
  to.batch = static_cast<int>(batch);
  return true;
}

}  // namespace cortorch::cuda
