// The linear maps straight from their definitions: loops over float64 that share nothing with the kernels.
#pragma once

#include <cstdint>
#include <vector>

#include "maps/conv2d_geometry.h"

namespace naive {

using Values = std::vector<double>;

// Every product that a map consists of: y[b, o, …] gets w · x[b, c, …]. Indices are into contiguous arrays:
// x [batch, in_channels, in_height, in_width], y [batch, out_channels, out_height, out_width], w of the map's shape.
template <typename Term>
void for_each_term(const cortorch::Conv2dGeometry& g, bool shared, int64_t batch, Term term) {
  const int64_t oh_n = g.out_height(), ow_n = g.out_width();
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t oh = 0; oh < oh_n; ++oh)
      for (int64_t ow = 0; ow < ow_n; ++ow)
        for (int64_t kh = 0; kh < g.kernel_h; ++kh)
          for (int64_t kw = 0; kw < g.kernel_w; ++kw) {
            const int64_t ih = oh * g.stride_h - g.padding_h + kh * g.dilation_h;
            const int64_t iw = ow * g.stride_w - g.padding_w + kw * g.dilation_w;
            if (ih < 0 || ih >= g.in_height || iw < 0 || iw >= g.in_width) continue;
            for (int64_t c = 0; c < g.in_channels; ++c)
              for (int64_t o = 0; o < g.out_channels; ++o) {
                const int64_t x = ((b * g.in_channels + c) * g.in_height + ih) * g.in_width + iw;
                const int64_t y = ((b * g.out_channels + o) * oh_n + oh) * ow_n + ow;
                const int64_t tap = kh * g.kernel_w + kw;
                const int64_t w =
                    shared
                        ? (o * g.in_channels + c) * g.kernel_h * g.kernel_w + tap
                        : (((oh * ow_n + ow) * g.kernel_h * g.kernel_w + tap) * g.in_channels + c) * g.out_channels + o;
                term(x, w, y);
              }
          }
}

template <typename Term>
void for_each_term(int64_t in, int64_t out, int64_t batch, Term term) {
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t o = 0; o < out; ++o)
      for (int64_t i = 0; i < in; ++i) term(b * in + i, o * in + i, b * out + o);
}

}  // namespace naive
