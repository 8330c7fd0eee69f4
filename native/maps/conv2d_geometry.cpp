#include "maps/conv2d_geometry.h"

#include <c10/util/Exception.h>

namespace cortorch {

void check(const Conv2dGeometry& g, const char* name) {
  TORCH_CHECK(g.in_channels > 0 && g.out_channels > 0, name, ": channels must be positive, but there are ",
              g.in_channels, " in and ", g.out_channels, " out");
  TORCH_CHECK(g.in_height > 0 && g.in_width > 0, name, ": the image must not be empty, but it is ", g.in_height, "×",
              g.in_width);
  TORCH_CHECK(g.kernel_h > 0 && g.kernel_w > 0, name, ": the kernel must not be empty, but it is ", g.kernel_h, "×",
              g.kernel_w);
  TORCH_CHECK(g.stride_h > 0 && g.stride_w > 0, name, ": strides must be positive, but they are ", g.stride_h, " and ",
              g.stride_w);
  TORCH_CHECK(g.padding_h >= 0 && g.padding_w >= 0, name, ": padding must not be negative, but it is ", g.padding_h,
              " and ", g.padding_w);
  TORCH_CHECK(g.dilation_h > 0 && g.dilation_w > 0, name, ": dilations must be positive, but they are ", g.dilation_h,
              " and ", g.dilation_w);
  const int64_t reach_h = g.dilation_h * (g.kernel_h - 1) + 1, reach_w = g.dilation_w * (g.kernel_w - 1) + 1;
  const int64_t padded_h = g.in_height + 2 * g.padding_h, padded_w = g.in_width + 2 * g.padding_w;
  TORCH_CHECK(reach_h <= padded_h && reach_w <= padded_w, name, ": a kernel of ", g.kernel_h, "×", g.kernel_w,
              " with dilation ", g.dilation_h, "×", g.dilation_w, " reaches over ", reach_h, "×", reach_w,
              " pixels, but the padded image is only ", padded_h, "×", padded_w, "; the largest kernel that fits is ",
              (padded_h - 1) / g.dilation_h + 1, "×", (padded_w - 1) / g.dilation_w + 1);
}

}  // namespace cortorch
