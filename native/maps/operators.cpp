#include "maps/operators.h"

#include <c10/util/Exception.h>
#include <torch/library.h>

#include "maps/autograd.h"
#include "maps/conv2d.h"
#include "maps/dense.h"
#include "maps/locally_connected2d.h"

namespace cortorch {
namespace {

void check_floating(const char* op, const char* name, const at::Tensor& t, bool bfloat16 = false) {
  TORCH_CHECK(t.defined(), op, ": ", name, " is undefined");
  const at::ScalarType type = t.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kDouble || (bfloat16 && type == at::kBFloat16), op, ": expected ", name,
              " to be float32", bfloat16 ? ", float64 or bfloat16" : " or float64", ", but it is ", type);
}

void check_same(const char* op, const char* a_name, const at::Tensor& a, const char* b_name, const at::Tensor& b) {
  TORCH_CHECK(a.scalar_type() == b.scalar_type(), op, ": ", a_name, " is ", a.scalar_type(), " but ", b_name, " is ",
              b.scalar_type());
  TORCH_CHECK(a.device() == b.device(), op, ": ", a_name, " is on ", a.device(), " but ", b_name, " is on ",
              b.device());
}

void check_dense_operands(const char* op, const char* a_name, const at::Tensor& a, const char* b_name,
                          const at::Tensor& b) {
  check_floating(op, a_name, a, true);
  check_floating(op, b_name, b, true);
  check_same(op, a_name, a, b_name, b);
}

void check_image_operands(const char* op, const char* a_name, const at::Tensor& a, const char* b_name,
                          const at::Tensor& b) {
  check_floating(op, a_name, a, true);
  check_floating(op, b_name, b, true);
  check_same(op, a_name, a, b_name, b);
}

void check_images(const char* op, const char* name, const at::Tensor& t) {
  TORCH_CHECK(t.dim() == 4, op, ": expected ", name, " to be [batch, channels, height, width], but its shape is ",
              t.sizes());
}

// [..., n] as [batch, n].
at::Tensor as_batch(const char* op, const char* name, const at::Tensor& t, int64_t n) {
  TORCH_CHECK(t.dim() >= 1 && t.size(-1) == n, op, ": expected the last size of ", name, " to be ", n,
              ", but its shape is ", t.sizes());
  if (t.dim() == 2) return t;
  // reshape(-1) is ambiguous for empty tensors
  int64_t batch = 1;
  for (int64_t i = 0; i + 1 < t.dim(); ++i) batch *= t.size(i);
  return t.reshape({batch, n});
}

at::Tensor like_input(const at::Tensor& result, const at::Tensor& input, int64_t last) {
  if (input.dim() == 2) return result;
  Shape shape(input.sizes().begin(), input.sizes().end());
  shape.back() = last;
  return result.reshape(shape);
}

// The bias, checked; none if it is undefined.
std::optional<at::Tensor> checked_bias(const char* op, const LinearMap& map, const at::Tensor& x,
                                       const std::optional<at::Tensor>& bias) {
  if (!bias.has_value() || !bias->defined()) return std::nullopt;
  check_same(op, "x", x, "bias", *bias);
  TORCH_CHECK(bias->sizes() == at::IntArrayRef(map.bias_shape()), op, ": expected bias to be ",
              at::IntArrayRef(map.bias_shape()), ", but its shape is ", bias->sizes());
  return bias;
}

Conv2dGeometry geometry_of(const char* op, int64_t in_channels, int64_t in_height, int64_t in_width,
                           int64_t out_channels, int64_t kernel_h, int64_t kernel_w, const ImageMapOptions& options) {
  for (const auto& [name, pair] :
       {std::pair{"stride", options.stride}, {"padding", options.padding}, {"dilation", options.dilation}}) {
    TORCH_CHECK(pair.size() == 2, op, ": expected ", name, " to be (height, width), but it has ", pair.size(),
                " values");
  }
  Conv2dGeometry g{in_channels, in_height, in_width, out_channels, kernel_h, kernel_w};
  g.stride_h = options.stride[0], g.stride_w = options.stride[1];
  g.padding_h = options.padding[0], g.padding_w = options.padding[1];
  g.dilation_h = options.dilation[0], g.dilation_w = options.dilation[1];
  check(g, op);
  return g;
}

// The two maps over images differ in where their weights keep the sizes.
struct LocallyConnected {
  using Map = LocallyConnected2d;
  static constexpr const char* kWeight = "[out_h, out_w, k_h, k_w, in, out]";
  static constexpr int64_t kRank = 6, kIn = 4, kOut = 5, kKernel = 2;
};
struct Shared {
  using Map = Conv2d;
  static constexpr const char* kWeight = "[out, in, k_h, k_w]";
  static constexpr int64_t kRank = 4, kIn = 1, kOut = 0, kKernel = 2;
};

template <typename Kind>
LinearMapPtr image_map(const char* op, const char* weight_name, at::IntArrayRef input_size, const at::Tensor& weight,
                       const ImageMapOptions& options) {
  TORCH_CHECK(weight.dim() == Kind::kRank, op, ": expected ", weight_name, " to be ", Kind::kWeight,
              ", but its shape is ", weight.sizes());
  TORCH_CHECK(input_size.size() == 2, op, ": expected input_size to be (height, width), but it has ", input_size.size(),
              " values");
  auto map = c10::make_intrusive<typename Kind::Map>(
      geometry_of(op, weight.size(Kind::kIn), input_size[0], input_size[1], weight.size(Kind::kOut),
                  weight.size(Kind::kKernel), weight.size(Kind::kKernel + 1), options));
  TORCH_CHECK(weight.sizes() == at::IntArrayRef(map->weight_shape()), op, ": images of ", input_size[0], "×",
              input_size[1], " with this kernel, stride, padding and dilation need ", weight_name, " of shape ",
              at::IntArrayRef(map->weight_shape()), ", but its shape is ", weight.sizes());
  return map;
}

template <typename Kind>
LinearMapPtr image_map_of(const char* op, const at::Tensor& x, const at::Tensor& weight,
                          const ImageMapOptions& options) {
  check_images(op, "x", x);
  TORCH_CHECK(weight.dim() != Kind::kRank || x.size(1) == weight.size(Kind::kIn), op, ": x has ", x.size(1),
              " channels, but weight ", weight.sizes(), " (", Kind::kWeight, ") takes ", weight.size(Kind::kIn));
  return image_map<Kind>(op, "weight", x.sizes().slice(2), weight, options);
}

template <typename Kind>
at::Tensor image_apply(const char* op, const at::Tensor& x, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias, const ImageMapOptions& options) {
  check_image_operands(op, "x", x, "weight", weight);
  const LinearMapPtr map = image_map_of<Kind>(op, x, weight, options);
  return differentiable_apply(map, weight, x, checked_bias(op, *map, x, bias));
}

template <typename Kind>
at::Tensor image_adjoint(const char* op, const at::Tensor& v, const at::Tensor& y, at::IntArrayRef input_size,
                         const ImageMapOptions& options) {
  check_image_operands(op, "v", v, "y", y);
  check_images(op, "y", y);
  const LinearMapPtr map = image_map<Kind>(op, "v", input_size, v, options);
  TORCH_CHECK(y.sizes().slice(1) == at::IntArrayRef(map->output_shape()), op, ": images of ", input_size[0], "×",
              input_size[1], " give an output of ", at::IntArrayRef(map->output_shape()), ", but y's shape is ",
              y.sizes());
  return differentiable_adjoint(map, v, y);
}

template <typename Kind>
at::Tensor image_outer(const char* op, const at::Tensor& x, const at::Tensor& delta, at::IntArrayRef kernel_size,
                       const ImageMapOptions& options) {
  check_image_operands(op, "x", x, "delta", delta);
  check_images(op, "x", x);
  check_images(op, "delta", delta);
  TORCH_CHECK(kernel_size.size() == 2, op, ": expected kernel_size to be (height, width), but it has ",
              kernel_size.size(), " values");
  const LinearMapPtr map = c10::make_intrusive<typename Kind::Map>(
      geometry_of(op, x.size(1), x.size(2), x.size(3), delta.size(1), kernel_size[0], kernel_size[1], options));
  TORCH_CHECK(x.size(0) == delta.size(0), op, ": x is a batch of ", x.size(0), " but delta one of ", delta.size(0));
  TORCH_CHECK(delta.sizes().slice(1) == at::IntArrayRef(map->output_shape()), op, ": x ", x.sizes(),
              " with this kernel, stride, padding and dilation gives an output of ",
              at::IntArrayRef(map->output_shape()), ", but delta's shape is ", delta.sizes());
  return differentiable_outer(map, x, delta);
}

}  // namespace

LinearMapPtr dense_map(const char* op, const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() == 2, op, ": expected weight to be [out, in], but its shape is ", weight.sizes());
  return c10::make_intrusive<Dense>(weight.size(1), weight.size(0));
}

LinearMapPtr locally_connected2d_map(const char* op, const at::Tensor& x, const at::Tensor& weight,
                                     const ImageMapOptions& options) {
  return image_map_of<LocallyConnected>(op, x, weight, options);
}

LinearMapPtr conv2d_map(const char* op, const at::Tensor& x, const at::Tensor& weight, const ImageMapOptions& options) {
  return image_map_of<Shared>(op, x, weight, options);
}

at::Tensor dense(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  check_dense_operands("dense", "x", x, "weight", weight);
  const LinearMapPtr map = dense_map("dense", weight);
  const at::Tensor y = differentiable_apply(map, weight, as_batch("dense", "x", x, weight.size(1)),
                                            checked_bias("dense", *map, x, bias));
  return like_input(y, x, weight.size(0));
}

at::Tensor dense_adjoint(const at::Tensor& v, const at::Tensor& y) {
  check_dense_operands("dense_adjoint", "v", v, "y", y);
  const LinearMapPtr map = dense_map("dense_adjoint", v);
  return like_input(differentiable_adjoint(map, v, as_batch("dense_adjoint", "y", y, v.size(0))), y, v.size(1));
}

at::Tensor dense_outer(const at::Tensor& x, const at::Tensor& delta) {
  check_dense_operands("dense_outer", "x", x, "delta", delta);
  TORCH_CHECK(
      x.dim() >= 1 && delta.dim() == x.dim() && x.sizes().slice(0, x.dim() - 1) == delta.sizes().slice(0, x.dim() - 1),
      "dense_outer: expected x [..., in] and delta [..., out] to have equal leading sizes, but their shapes are ",
      x.sizes(), " and ", delta.sizes());
  const int64_t in = x.size(-1), out = delta.size(-1);
  return differentiable_outer(c10::make_intrusive<Dense>(in, out), as_batch("dense_outer", "x", x, in),
                              as_batch("dense_outer", "delta", delta, out));
}

at::Tensor locally_connected2d(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                               at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation) {
  return image_apply<LocallyConnected>("locally_connected2d", x, weight, bias, {stride, padding, dilation});
}

at::Tensor locally_connected2d_adjoint(const at::Tensor& v, const at::Tensor& y, at::IntArrayRef input_size,
                                       at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation) {
  return image_adjoint<LocallyConnected>("locally_connected2d_adjoint", v, y, input_size, {stride, padding, dilation});
}

at::Tensor locally_connected2d_outer(const at::Tensor& x, const at::Tensor& delta, at::IntArrayRef kernel_size,
                                     at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation) {
  return image_outer<LocallyConnected>("locally_connected2d_outer", x, delta, kernel_size, {stride, padding, dilation});
}

at::Tensor conv2d(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                  at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation) {
  return image_apply<Shared>("conv2d", x, weight, bias, {stride, padding, dilation});
}

at::Tensor conv2d_adjoint(const at::Tensor& v, const at::Tensor& y, at::IntArrayRef input_size, at::IntArrayRef stride,
                          at::IntArrayRef padding, at::IntArrayRef dilation) {
  return image_adjoint<Shared>("conv2d_adjoint", v, y, input_size, {stride, padding, dilation});
}

at::Tensor conv2d_outer(const at::Tensor& x, const at::Tensor& delta, at::IntArrayRef kernel_size,
                        at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation) {
  return image_outer<Shared>("conv2d_outer", x, delta, kernel_size, {stride, padding, dilation});
}

}  // namespace cortorch

// CompositeImplicit: the functions above make their own autograd graph.
TORCH_LIBRARY(cortorch, m) {
  m.def("dense(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor", &cortorch::dense);
  m.def("dense_adjoint(Tensor v, Tensor y) -> Tensor", &cortorch::dense_adjoint);
  m.def("dense_outer(Tensor x, Tensor delta) -> Tensor", &cortorch::dense_outer);
  m.def(
      "locally_connected2d(Tensor x, Tensor weight, Tensor? bias=None, int[2] stride=1, int[2] padding=0, int[2] "
      "dilation=1) -> Tensor",
      &cortorch::locally_connected2d);
  m.def(
      "locally_connected2d_adjoint(Tensor v, Tensor y, int[2] input_size, int[2] stride=1, int[2] padding=0, int[2] "
      "dilation=1) -> Tensor",
      &cortorch::locally_connected2d_adjoint);
  m.def(
      "locally_connected2d_outer(Tensor x, Tensor delta, int[2] kernel_size, int[2] stride=1, int[2] padding=0, int[2] "
      "dilation=1) -> Tensor",
      &cortorch::locally_connected2d_outer);
  m.def(
      "conv2d(Tensor x, Tensor weight, Tensor? bias=None, int[2] stride=1, int[2] padding=0, int[2] dilation=1) -> "
      "Tensor",
      &cortorch::conv2d);
  m.def(
      "conv2d_adjoint(Tensor v, Tensor y, int[2] input_size, int[2] stride=1, int[2] padding=0, int[2] dilation=1) -> "
      "Tensor",
      &cortorch::conv2d_adjoint);
  m.def(
      "conv2d_outer(Tensor x, Tensor delta, int[2] kernel_size, int[2] stride=1, int[2] padding=0, int[2] dilation=1) "
      "-> Tensor",
      &cortorch::conv2d_outer);
}
