// The sizes of a two-dimensional convolution, shared or not: what Conv2d and LocallyConnected2d are made from.
#pragma once

#include <cstdint>

namespace cortorch {

// Output location (oh, ow) sees the inputs (oh·stride_h − padding_h + kh·dilation_h, …) for its kernel's taps
// (kh, kw); what lies outside of the image is zero. Padding is the same on opposite sides.
struct Conv2dGeometry {
  int64_t in_channels, in_height, in_width;
  int64_t out_channels;
  int64_t kernel_h, kernel_w;
  int64_t stride_h = 1, stride_w = 1;
  int64_t padding_h = 0, padding_w = 0;
  int64_t dilation_h = 1, dilation_w = 1;

  int64_t out_height() const { return (in_height + 2 * padding_h - dilation_h * (kernel_h - 1) - 1) / stride_h + 1; }
  int64_t out_width() const { return (in_width + 2 * padding_w - dilation_w * (kernel_w - 1) - 1) / stride_w + 1; }
};

// Throws c10::Error beginning with `name` that says which size is wrong and what would fit.
void check(const Conv2dGeometry& geometry, const char* name);

}  // namespace cortorch
