// Conv2dGeometry for kernels: 32-bit sizes, division without dividing, and which taps meet which locations.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "maps/conv2d_geometry.h"

namespace cortorch::cuda {

// n / d for 0 ≤ n < 2³¹ by a multiplication (Granlund and Montgomery 1994, figure 4.1).
struct Divisor {
  uint32_t d = 1, magic = 1, shift = 0;

  Divisor() = default;
  explicit Divisor(int divisor) : d(divisor < 1 ? 1 : divisor) {
    while ((uint64_t{1} << shift) < d) ++shift;
    magic = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - d)) / d + 1);
  }
  __device__ int quotient(int n) const {
    return static_cast<int>((__umulhi(static_cast<uint32_t>(n), magic) + static_cast<uint32_t>(n)) >> shift);
  }
};

// The taps along one axis that connect one location with something at the other end, in ascending order:
// tap first + i·step meets place first_place + i·place_step. Where there is no second one, the steps are 0: what is
// made of them would reach beyond the image, and need not fit anywhere.
struct Taps {
  int count, first, step, first_place, place_step;

  __device__ Taps(int taps, int first_tap, int tap_step, int place, int place_further)
      : count(taps),
        first(first_tap),
        step(taps > 1 ? tap_step : 0),
        first_place(place),
        place_step(taps > 1 ? place_further : 0) {}
};

struct Axis {
  int in, out, kernel, stride, padding, dilation;
  int backward_step,
      backward_place_step;  // an input meets every so-manieth tap, each at so many locations from the one before
  Divisor by_dilation, by_stride, by_backward_step;

  // Of the output location `at`: the taps that fall inside of the image.
  __device__ Taps of_output(int at) const {
    const int start = at * stride - padding;
    const int first = start >= 0 ? 0 : by_dilation.quotient(-start + dilation - 1);
    const int room = in - 1 - start;  // from the first tap to the last input
    const int last = room < 0 ? -1 : min(kernel - 1, by_dilation.quotient(room));
    return {max(0, last - first + 1), first, 1, start + first * dilation, dilation};
  }

  // Of the input location `at`: the taps by which some output location sees it.
  __device__ Taps of_input(int at) const {
    const int reach = at + padding;  // = place · stride + tap · dilation
    const int beyond = reach - (out - 1) * stride;
    int first = beyond <= 0 ? 0 : by_dilation.quotient(beyond + dilation - 1);
    const int last = min(kernel - 1, by_dilation.quotient(reach));
    for (const int end = first + backward_step; first < end && first <= last; ++first) {
      const int rest = reach - first * dilation, place = by_stride.quotient(rest);
      if (place * stride == rest) {
        return {by_backward_step.quotient(last - first) + 1, first, backward_step, place, -backward_place_step};
      }
    }
    return {0, 0, 1, 0, 0};
  }
};

struct Geometry {
  Axis h, w;
  int in_channels, out_channels, batch;

  __host__ __device__ int taps() const { return h.kernel * w.kernel; }
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
  // The rows of images and weights that one location meets are less than 2³¹ elements, so that steps within them are 32
  // bits (walk.cuh); and so are the rows of a tile.
  const auto reaches = [&from](int64_t height, std::initializer_list<int64_t> factors) {
    int64_t elements = std::min(from.kernel_h * from.dilation_h, height);
    for (const int64_t factor : factors) {
      if (elements > INT32_MAX / std::max<int64_t>(factor, 1)) return false;
      elements *= factor;
    }
    return true;
  };
  const int64_t in = from.in_channels, out = from.out_channels, taps = from.kernel_h * from.kernel_w;
  if (!reaches(from.in_height, {from.in_width, batch, in}) ||
      !reaches(from.out_height(), {from.out_width(), batch, out}) ||
      !reaches(from.out_height(), {from.out_width(), taps, in, out}) || !fits(128, in) || !fits(128, out)) {
    return false;
  }
  const auto axis = [](int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    const int s = static_cast<int>(stride), d = static_cast<int>(dilation);
    const int step = s / gcd(s, d);
    return Axis{static_cast<int>(in),
                static_cast<int>(out),
                static_cast<int>(kernel),
                s,
                static_cast<int>(padding),
                d,
                step,
                d * step / s,
                Divisor(d),
                Divisor(s),
                Divisor(step)};
  };
  to.h = axis(from.in_height, from.out_height(), from.kernel_h, from.stride_h, from.padding_h, from.dilation_h);
  to.w = axis(from.in_width, from.out_width(), from.kernel_w, from.stride_w, from.padding_w, from.dilation_w);
  to.in_channels = static_cast<int>(from.in_channels);
  to.out_channels = static_cast<int>(from.out_channels);
  to.batch = static_cast<int>(batch);
  return true;
}

}  // namespace cortorch::cuda
