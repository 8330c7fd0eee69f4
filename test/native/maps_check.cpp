// The linear maps over random sizes against plain loops, with every tensor in a heap block of exactly its size:
// a program for AddressSanitizer, UndefinedBehaviorSanitizer and valgrind, which JavaScript's process is not.
//
//   maps_check [--seed N] [--cases N] [--threads N] [--networks 0]
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/sum.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/noise.h"
#include "base/pool.h"
#include "data/dataset.h"
#include "maps/conv2d.h"
#include "maps/delta.h"
#include "maps/dense.h"
#include "maps/elementwise.h"
#include "maps/image_layout.h"
#include "maps/locally_connected2d.h"
#include "native/checked_memory.h"
#include "native/compare.h"
#include "native/naive.h"
#include "network/network.h"
#include "rules/direct.h"
#include "rules/gradient.h"
#include "rules/rules.h"
#include "rules/target_layer.h"
#include "training/trainer.h"

namespace {

using cortorch::Activation;
using cortorch::Conv2dGeometry;
using cortorch::LinearMapPtr;
using cortorch::Shape;
using naive::Values;

std::atomic<int> failures{0};
std::atomic<int64_t> comparisons{0};

// --- random choices, the same for a seed ----------------------------------------------------------------
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // First to last, both included. Not std::uniform_int_distribution, which differs between libraries.
  int64_t between(int64_t first, int64_t last) {
    return first + static_cast<int64_t>(engine_() % static_cast<uint64_t>(last - first + 1));
  }
  int64_t of(std::initializer_list<int64_t> values) {
    return values.begin()[between(0, static_cast<int64_t>(values.size()) - 1)];
  }
  Values values(int64_t count) {
    Values result(static_cast<std::size_t>(count));
    for (double& value : result) value = static_cast<double>(static_cast<int32_t>(engine_())) / 2147483648.0;
    return result;
  }

 private:
  std::mt19937_64 engine_;
};

// --- tensors in blocks of their own ---------------------------------------------------------------------
int64_t count(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

Shape with_batch(int64_t batch, const Shape& shape) {
  Shape result{batch};
  result.insert(result.end(), shape.begin(), shape.end());
  return result;
}

// Values of a contiguous tensor of `shape`, in a block that ends where the last one does. The values lie in memory
// in the order of the dimensions in `order` (empty: as they are).
at::Tensor exact(const Values& values, const Shape& shape, at::ScalarType dtype, const Shape& order = {}) {
  const std::size_t dims = shape.size();
  Shape strides(dims, 1);
  for (int64_t stride = 1, i = static_cast<int64_t>(dims) - 1; i >= 0; --i) {
    const std::size_t d =
        order.empty() ? static_cast<std::size_t>(i) : static_cast<std::size_t>(order[static_cast<std::size_t>(i)]);
    strides[d] = stride;
    stride *= shape[d];
  }
  const std::size_t bytes = values.size() * c10::elementSize(dtype);
  void* const block = std::malloc(bytes);
  const at::Tensor source = at::from_blob(const_cast<double*>(values.data()), shape, at::kDouble);
  at::Tensor result = at::from_blob(block, shape, strides, [](void* memory) { std::free(memory); }, dtype);
  result.copy_(source);
  return result;
}

Values values_of(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.detach().to(at::kDouble).contiguous();
  const double* data = wide.const_data_ptr<double>();
  return Values(data, data + wide.numel());
}

// What a dtype makes of the values.
Values rounded(const Values& values, at::ScalarType dtype) {
  if (dtype == at::kDouble) return values;
  return values_of(
      at::from_blob(const_cast<double*>(values.data()), {static_cast<int64_t>(values.size())}, at::kDouble).to(dtype));
}

double tolerance(at::ScalarType dtype) { return dtype == at::kDouble ? 1e-12 : dtype == at::kFloat ? 3e-6 : 8e-3; }

void fail(const std::string& what) {
  ++failures;
  std::fprintf(stderr, "FAILED %s\n", what.c_str());
}

double largest(const Values& values) {
  double result = 0;
  for (const double value : values) result = std::max(result, std::abs(value));
  return result;
}

// `size`: of what was added up, where that may be larger than what is left of it.
void agree(const std::string& what, const at::Tensor& got, const Shape& shape, const Values& want, double size = 0) {
  ++comparisons;
  if (got.sizes() != at::IntArrayRef(shape)) {
    std::ostringstream message;
    message << what << ": shape " << got.sizes() << " instead of " << at::IntArrayRef(shape);
    return fail(message.str());
  }
  const double error = compare::relative_error(values_of(got), want, size);
  if (!(error <= tolerance(got.scalar_type()))) fail(what + ": error " + std::to_string(error));
}

// The comparison itself, before anything is compared by it.
void check_comparison() {
  const auto is = [](const char* what, double got, double wanted) {
    ++comparisons;
    if (got != wanted) fail(std::string("the comparison: ") + what + " is " + std::to_string(got));
  };
  using compare::relative_error;
  constexpr double far = std::numeric_limits<double>::infinity();
  is("an error below 1", relative_error({0x3p-31, 0}, {0x1p-29, 0}), 0.25);
  is("an error above 1", relative_error({3e9, 1}, {4e9, 1}), 0.25);
  is("an error of two zeros", relative_error({0, 0}, {0, 0}), 0);
  is("an error beside a zero", relative_error({1e-30}, {0}), far);
  is("an error over a floor", relative_error({0.25}, {0}, 0.5), 0.5);
  is("an error over a floor below what is expected", relative_error({1}, {2}, 0.5), 0.5);
  is("another length", relative_error({1, 2}, {1}), far);
  is("another length", relative_error({1}, {1, 2}), far);
  for (const double bad : {double{NAN}, far, -far}) {
    is("what is not finite", relative_error({5, bad, 3}, {1, 2, 3}), far);
    is("what is expected and not finite", relative_error({1, 2}, {1, bad}), far);
    is("what is not finite on both sides", relative_error({1, bad}, {1, bad}), far);
  }
}

// --- one map --------------------------------------------------------------------------------------------
// Calls term(x, w, y) for every product x·w that y sums.
using Term = std::function<void(int64_t, int64_t, int64_t)>;
using Terms = std::function<void(const Term&)>;

double sigma(Activation activation, double a) {
  switch (activation) {
    case Activation::tanh: return std::tanh(a);
    case Activation::relu: return std::max(0.0, a);
    case Activation::sigmoid: return 1 / (1 + std::exp(-a));
    case Activation::identity: break;
  }
  return a;
}

double derivative(Activation activation, double y) {
  switch (activation) {
    case Activation::tanh: return 1 - y * y;
    case Activation::relu: return y > 0 ? 1 : 0;
    case Activation::sigmoid: return y * (1 - y);
    case Activation::identity: break;
  }
  return 1;
}

// Which bias belongs to value `i` of a contiguous [batch, output_shape].
int64_t bias_index(const cortorch::LinearMap& map, int64_t i) {
  const Shape out = map.output_shape();
  const int64_t unit = i % count(out);
  if (map.bias_shape().size() == out.size() && out.size() == 3) {  // [h, w, channels] for [channels, h, w]
    const int64_t area = out[1] * out[2];
    return unit % area * out[0] + unit / area;
  }
  return out.size() == 3 ? unit / (out[1] * out[2]) : unit;
}

void check_map(const std::string& name, const LinearMapPtr& map, int64_t batch, const Terms& terms,
               at::ScalarType dtype, Random& random) {
  const Shape x_shape = with_batch(batch, map->input_shape()), y_shape = with_batch(batch, map->output_shape());
  const Shape w_shape = map->weight_shape(), b_shape = map->bias_shape();
  const Values xs = rounded(random.values(count(x_shape)), dtype), ws = rounded(random.values(count(w_shape)), dtype);
  const Values bs = rounded(random.values(count(b_shape)), dtype), ds = rounded(random.values(count(y_shape)), dtype);
  // As the shape says; location-major; channels last.
  static const std::array<Shape, 3> kOrders{Shape{}, Shape{2, 3, 0, 1}, Shape{0, 2, 3, 1}};
  const bool image = x_shape.size() == 4;
  const auto any_order = [&] { return image ? kOrders[static_cast<std::size_t>(random.between(0, 2))] : Shape{}; };
  const at::Tensor w = exact(ws, w_shape, dtype), b = exact(bs, b_shape, dtype);
  const at::Tensor x = exact(xs, x_shape, dtype, any_order()), d = exact(ds, y_shape, dtype, any_order());

  Values sums(ds.size(), 0), adjoint(xs.size(), 0), outer(ws.size(), 0);
  Values sum_sizes = sums, adjoint_sizes = adjoint, outer_sizes = outer;
  terms([&](int64_t xi, int64_t wi, int64_t yi) {
    const auto [i, j, k] =
        std::array{static_cast<std::size_t>(xi), static_cast<std::size_t>(wi), static_cast<std::size_t>(yi)};
    sums[k] += ws[j] * xs[i];
    adjoint[i] += ws[j] * ds[k];
    outer[j] += xs[i] * ds[k];
    sum_sizes[k] += std::abs(ws[j] * xs[i]);
    adjoint_sizes[i] += std::abs(ws[j] * ds[k]);
    outer_sizes[j] += std::abs(xs[i] * ds[k]);
  });
  const double sum_size = largest(sum_sizes), adjoint_size = largest(adjoint_sizes);
  agree(name + " apply", map->apply(w, x, {}, Activation::identity), y_shape, sums, sum_size);
  agree(name + " adjoint", map->adjoint(w, d, {}, Activation::identity), x_shape, adjoint, adjoint_size);
  agree(name + " outer", map->outer(x, d), w_shape, outer, largest(outer_sizes));

  const auto activation = static_cast<Activation>(random.between(0, 3));
  Values outputs = sums, delta = ds, bias_sums(bs.size(), 0), bias_sizes(bs.size(), 0);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    outputs[i] = sigma(activation, sums[i] + bs[static_cast<std::size_t>(bias_index(*map, static_cast<int64_t>(i)))]);
  }
  const at::Tensor y = map->apply(w, x, b, activation);
  const std::string with = std::string(1, ' ') + cortorch::name_of(activation);
  agree(name + with + " apply with bias", y, y_shape, outputs, sum_size + largest(bs));

  // σ' as a function of the y that the map gave, so that a relu is not judged at its corner.
  const Values given = values_of(y);
  for (std::size_t i = 0; i < ds.size(); ++i) {
    delta[i] = ds[i] * derivative(activation, given[i]);
    const auto unit = static_cast<std::size_t>(bias_index(*map, static_cast<int64_t>(i)));
    bias_sums[unit] += delta[i];
    bias_sizes[unit] += std::abs(ds[i]);
  }
  // 1 − y² and y (1 − y) are rounded to the digits of 1, so what they are multiplied with is the size.
  const double delta_size = largest(ds), bias_size = largest(bias_sizes);
  const auto made = [&](double scale, bool want_bias) {
    return cortorch::delta(*map, activation, d, y, scale, want_bias);
  };
  const cortorch::Delta both = made(1, true);
  agree(name + with + " delta", both.delta, y_shape, delta, delta_size);
  agree(name + with + " bias gradient", both.bias_sum, b_shape, bias_sums, bias_size);
  agree(name + with + " delta alone", made(1, false).delta, y_shape, delta, delta_size);
  agree(name + " sum_to_bias", cortorch::sum_to_bias(*map, exact(delta, y_shape, dtype)), b_shape, bias_sums,
        bias_size);

  // A learned inverse's form of the adjoint, and the scaled δ of a squared loss.
  const Values cs = rounded(random.values(count(map->input_shape())), dtype);
  Values inverse = adjoint, halved = delta, halved_sums = bias_sums;
  for (std::size_t i = 0; i < inverse.size(); ++i) inverse[i] = sigma(activation, adjoint[i] + cs[i % cs.size()]);
  for (double& value : halved) value /= 2;
  for (double& value : halved_sums) value /= 2;
  const at::Tensor c = exact(cs, map->input_shape(), dtype);
  agree(name + with + " adjoint with bias", map->adjoint(w, d, c, activation), x_shape, inverse,
        adjoint_size + largest(cs));
  const cortorch::Delta half = made(0.5, true);
  agree(name + with + " halved delta", half.delta, y_shape, halved, delta_size);
  agree(name + with + " halved bias gradient", half.bias_sum, b_shape, halved_sums, bias_size);
}

// --- random sizes ---------------------------------------------------------------------------------------
// Multiply-adds of one operation; the plain loops of an instrumented program are slow.
constexpr int64_t kWork = 400'000;

std::string describe(const Conv2dGeometry& g, int64_t batch) {
  std::ostringstream s;
  s << batch << "×" << g.in_channels << "×" << g.in_height << "×" << g.in_width << " → " << g.out_channels
    << ", kernel " << g.kernel_h << "×" << g.kernel_w << ", stride " << g.stride_h << "×" << g.stride_w << ", padding "
    << g.padding_h << "×" << g.padding_w << ", dilation " << g.dilation_h << "×" << g.dilation_w;
  return s.str();
}

// Channel counts around the widths of vectors and the cuts that kernels make.
int64_t any_channels(Random& random) {
  return random.between(0, 2) == 0 ? random.between(1, 20)
                                   : random.of({1, 3, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 130});
}

struct Case {
  Conv2dGeometry g;
  int64_t batch;
};

Case random_case(Random& random) {
  for (;;) {
    Conv2dGeometry g{};
    g.in_channels = any_channels(random);
    g.out_channels = any_channels(random);
    const auto axis = [&](int64_t& size, int64_t& kernel, int64_t& stride, int64_t& padding, int64_t& dilation) {
      kernel = random.between(1, 5);
      stride = random.of({1, 1, 2, 3});
      padding = random.of({0, 0, 1, 2, 3});
      dilation = random.of({1, 1, 1, 2, 3});
      const int64_t reach = dilation * (kernel - 1) + 1;
      size = std::max<int64_t>(1, reach - 2 * padding) + random.between(0, 6);
    };
    axis(g.in_height, g.kernel_h, g.stride_h, g.padding_h, g.dilation_h);
    axis(g.in_width, g.kernel_w, g.stride_w, g.padding_w, g.dilation_w);
    const int64_t batch = random.of({0, 1, 1, 2, 7, 15, 16, 17, 31, 33, 100, 128, 129, 257, 300});
    const int64_t work = std::max<int64_t>(1, batch) * g.in_channels * g.out_channels * g.kernel_h * g.kernel_w *
                         g.out_height() * g.out_width();
    if (work <= kWork) return {g, batch};
  }
}

at::ScalarType any_dtype(Random& random, bool bfloat16) {
  const int64_t draw = random.between(0, 5);
  return draw == 0 ? at::kDouble : draw == 1 && bfloat16 ? at::kBFloat16 : at::kFloat;
}

void check_random_maps(Random& random) {
  const auto [g, batch] = random_case(random);
  const at::ScalarType dtype = any_dtype(random, true);
  const std::string name = describe(g, batch) + " " + c10::toString(dtype);
  check_map(
      "locally connected " + name, c10::make_intrusive<cortorch::LocallyConnected2d>(g), batch,
      [g = g, batch = batch](const Term& term) { naive::for_each_term(g, false, batch, term); }, dtype, random);
  // The convolution's kernels are libtorch's own; what is ours is how they are called.
  if (random.between(0, 3) == 0) {
    check_map(
        "convolution " + name, c10::make_intrusive<cortorch::Conv2d>(g), batch,
        [g = g, batch = batch](const Term& term) { naive::for_each_term(g, true, batch, term); }, dtype, random);
  }
  int64_t in, out, rows;
  do {
    in = random.of({1, 2, 8, 15, 16, 17, 65, 100, 513, 784});
    out = random.of({1, 3, 10, 16, 63, 64, 65, 130, 256});
    rows = random.of({0, 1, 3, 16, 17, 100});
  } while (in * out * rows > kWork);
  check_map(
      "dense " + std::to_string(rows) + "×" + std::to_string(in) + " → " + std::to_string(out),
      c10::make_intrusive<cortorch::Dense>(in, out), rows,
      [=](const Term& term) { naive::for_each_term(in, out, rows, term); }, any_dtype(random, false), random);
}

// --- what target propagation has beside the maps ---------------------------------------------------------
void check_elementwise(Random& random) {
  const bool image = random.between(0, 1) == 1;
  const int64_t batch = random.of({1, 2, 5, 16, 33, 100});
  const Shape one = image ? Shape{any_channels(random), random.between(1, 9), random.between(1, 9)}
                          : Shape{random.of({1, 15, 16, 17, 300, 784})};
  const Shape shape = with_batch(batch, one);
  static const std::array<Shape, 3> kOrders{Shape{}, Shape{2, 3, 0, 1}, Shape{0, 2, 3, 1}};
  const auto any_order = [&] { return image ? kOrders[static_cast<std::size_t>(random.between(0, 2))] : Shape{}; };
  const at::ScalarType dtype = any_dtype(random, false);
  const Values as = rounded(random.values(count(shape)), dtype), bs = rounded(random.values(count(shape)), dtype);
  const at::Tensor a = exact(as, shape, dtype, any_order()), b = exact(bs, shape, dtype, any_order());
  const auto activation = static_cast<Activation>(random.between(0, 3));
  Values differences(as.size()), deltas(as.size()), sums(as.size() / static_cast<std::size_t>(batch), 0);
  double squares = 0;
  double size = 0;  // of what is subtracted
  for (std::size_t i = 0; i < as.size(); ++i) {
    differences[i] = as[i] - bs[i];
    deltas[i] = 0.5 * differences[i] * derivative(activation, as[i]);
    sums[i % sums.size()] += deltas[i];
    squares += differences[i] * differences[i];
    size = std::max(size, std::abs(as[i]) + std::abs(bs[i]));
  }
  const std::string name = std::string(image ? "images " : "vectors ") + cortorch::name_of(activation);
  agree(name + " difference", cortorch::difference(a, b), shape, differences);
  const cortorch::Residual r = cortorch::residual(activation, a, b, 0.5);
  agree(name + " residual", r.delta, shape, deltas, size);
  agree(name + " residual's sum", r.bias_sum, one, sums, size * static_cast<double>(batch));
  ++comparisons;
  if (!(std::abs(r.squares - squares) <= 1e-5 * squares)) fail(name + ": Σ squares " + std::to_string(r.squares));
  if (dtype != at::kFloat) return;
  const cortorch::NoiseSource source{static_cast<uint64_t>(random.between(0, 1 << 30)), 3, 5};
  const at::Tensor h = cortorch::location_major(image ? a : a.reshape({batch, -1, 1, 1}));
  const at::Tensor noisy = cortorch::add_noise(h, 0.5, source);
  const Values normals = values_of(cortorch::normals(h.numel(), source)), memory = values_of(h.permute({2, 3, 0, 1}));
  Values expected(memory.size());
  for (std::size_t i = 0; i < memory.size(); ++i) expected[i] = memory[i] + 0.5 * normals[i];
  const at::Tensor in_memory = noisy.permute({2, 3, 0, 1});
  agree(name + " noise", in_memory, Shape(in_memory.sizes().begin(), in_memory.sizes().end()), expected);
}

// Counts what is asked of a map.
struct Counting final : cortorch::LinearMap {
  explicit Counting(LinearMapPtr map) : map(std::move(map)) {}
  at::Tensor apply(const at::Tensor& w, const at::Tensor& x, const at::Tensor& b, Activation a) const override {
    ++applied;
    return map->apply(w, x, b, a);
  }
  at::Tensor adjoint(const at::Tensor& v, const at::Tensor& y, const at::Tensor& c, Activation a) const override {
    ++transposed;
    return map->adjoint(v, y, c, a);
  }
  at::Tensor outer(const at::Tensor& x, const at::Tensor& d) const override {
    ++outers;
    return map->outer(x, d);
  }
  Shape input_shape() const override { return map->input_shape(); }
  Shape output_shape() const override { return map->output_shape(); }
  Shape weight_shape() const override { return map->weight_shape(); }
  Shape bias_shape() const override { return map->bias_shape(); }
  cortorch::BiasTiles bias_tiles() const override { return map->bias_tiles(); }
  int64_t fan_in() const override { return map->fan_in(); }
  int64_t fan_out() const override { return map->fan_out(); }

  LinearMapPtr map;
  mutable int applied = 0, transposed = 0, outers = 0;
};

at::Tensor leaf(Random& random, const Shape& shape);

// A layer of target propagation costs what ARCHITECTURE.md says, and the lowest sends nothing down.
void check_costs(Random& random) {
  for (const char* rule : {"tp", "dtp", "sdtp", "ao-sdtp"}) {
    const cortorch::TargetKind kind = cortorch::target_kind(rule);
    for (const bool lowest : {false, true}) {
      const auto map = c10::make_intrusive<Counting>(c10::make_intrusive<cortorch::Dense>(6, 5));
      const at::Tensor x = leaf(random, {4, 6}), w = leaf(random, {5, 6});
      x.set_requires_grad(!lowest);
      const cortorch::Inverse inverse{map, Activation::tanh, leaf(random, {5, 6}).detach(), {}};
      const at::Tensor y = cortorch::target_layer(map, Activation::tanh, x, w, {}, inverse, kind, {});
      y.backward(at::sum(leaf(random, {4, 5}).detach(), {}, false).expand({4, 5}));
      const std::array counts{map->applied, map->outers, map->transposed};
      ++comparisons;
      if (counts != std::array{1, 1, lowest ? 0 : kind.hands_targets ? 1 : 2}) {
        fail("a layer of " + kind.rule + ": " + std::to_string(map->transposed) + " adjoints");
      }
    }
  }
}

// --- layers and training --------------------------------------------------------------------------------
at::Tensor leaf(Random& random, const Shape& shape) {
  Values values = random.values(count(shape));
  for (double& value : values) value *= 0.3;
  return exact(values, shape, at::kFloat).set_requires_grad(true);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const Values x = values_of(a), y = values_of(b);
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0;
}

// Two layers of the kind under a dense one; bp, fa with B = W and dfa.
void check_rules(const std::string& name, bool shared, Random& random) {
  const int64_t batch = random.of({1, 5, 16, 33});
  Conv2dGeometry first{.in_channels = random.of({1, 3, 16}),
                       .in_height = random.between(6, 10),
                       .in_width = random.between(6, 10),
                       .out_channels = random.of({4, 16, 17}),
                       .kernel_h = 3,
                       .kernel_w = 3,
                       .stride_h = random.between(1, 2),
                       .padding_h = random.between(0, 1),
                       .padding_w = 1};
  Conv2dGeometry second{.in_channels = first.out_channels,
                        .in_height = first.out_height(),
                        .in_width = first.out_width(),
                        .out_channels = random.of({3, 8}),
                        .kernel_h = 2,
                        .kernel_w = 2,
                        .stride_w = 2};
  const auto map_of = [&](const Conv2dGeometry& g) -> LinearMapPtr {
    if (shared) return c10::make_intrusive<cortorch::Conv2d>(g);
    return c10::make_intrusive<cortorch::LocallyConnected2d>(g);
  };
  const int64_t flat = second.out_channels * second.out_height() * second.out_width(), classes = 7;
  const std::array<LinearMapPtr, 3> maps{map_of(first), map_of(second),
                                         c10::make_intrusive<cortorch::Dense>(flat, classes)};
  const std::array activations{Activation::tanh, Activation::relu, Activation::identity};
  std::vector<at::Tensor> weights, biases, broadcasts;
  for (const LinearMapPtr& map : maps) {
    weights.push_back(leaf(random, map->weight_shape()));
    biases.push_back(leaf(random, map->bias_shape()));
    broadcasts.push_back(leaf(random, {classes, count(map->output_shape())}).set_requires_grad(false));
  }
  const at::Tensor input = exact(random.values(count(with_batch(batch, maps[0]->input_shape()))),
                                 with_batch(batch, maps[0]->input_shape()), at::kFloat);
  const at::Tensor labels = at::empty({batch}, at::kLong);
  for (int64_t i = 0; i < batch; ++i) labels.mutable_data_ptr<int64_t>()[i] = i % classes;

  const auto gradients = [&](const std::string& rule) {
    at::Tensor h = input;
    std::vector<at::Tensor> ports;
    for (std::size_t l = 0; l < maps.size(); ++l) {
      if (l == 2) h = h.reshape({batch, flat});
      if (rule != "dfa") {
        const auto sender = cortorch::sender_of(rule, weights[l].detach(), 1);
        h = cortorch::gradient_layer(maps[l], activations[l], sender, h, weights[l], biases[l]);
      } else if (l < 2) {
        auto hidden = cortorch::dfa_hidden_layer(maps[l], activations[l], h, weights[l], biases[l], broadcasts[l]);
        h = hidden.y;
        ports.push_back(hidden.error_port);
      } else {
        h = cortorch::dfa_output_layer(maps[l], activations[l], h, weights[l], biases[l], ports);
      }
    }
    cortorch::Tally counts;
    cortorch::softmax_cross_entropy(h, labels, counts).backward();
    std::vector<at::Tensor> result;
    for (std::vector<at::Tensor>* group : {&weights, &biases}) {
      for (at::Tensor& parameter : *group) {
        result.push_back(parameter.grad().clone());
        parameter.mutable_grad().reset();
      }
    }
    return result;
  };
  const auto bp = gradients("bp"), fa = gradients("fa"), dfa = gradients("dfa");
  for (std::size_t i = 0; i < bp.size(); ++i) {
    comparisons += 2;
    if (!same_bits(fa[i], bp[i])) fail(name + ": gradient " + std::to_string(i) + " of fa with B = W is not bp's");
    if (dfa[i].sizes() != bp[i].sizes() || !std::isfinite(at::sum(dfa[i]).item<double>())) fail(name + ": dfa");
  }
}

// A few epochs on a handful of examples, which have to be learnt, and an evaluation.
void check_training(const std::string& name, const cortorch::NetworkSpec& spec, const std::string& rule,
                    cortorch::Options options, Random& random) {
  const int64_t examples = 37, classes = 3;
  const Shape shape = with_batch(examples, spec.input);
  const at::Tensor images = at::empty(shape, at::kByte), labels = at::empty({examples}, at::kLong);
  for (int64_t i = 0; i < images.numel(); ++i)
    images.mutable_data_ptr<uint8_t>()[i] = static_cast<uint8_t>(random.between(0, 255));
  for (int64_t i = 0; i < examples; ++i) labels.mutable_data_ptr<int64_t>()[i] = random.between(0, classes - 1);
  const cortorch::Dataset data(images, labels, classes);
  cortorch::Network network(spec, cortorch::make_rule(rule, options), 7);
  cortorch::RuleTraining training{std::move(options), {}};
  const bool targets = !network.of_role(cortorch::Parameter::Role::learned).empty();
  if (targets) training.optimizer = {.lr = 1e-3};
  cortorch::Trainer trainer(network, cortorch::Loss::softmax_cross_entropy, {.lr = targets ? 3e-3 : 1e-2}, {},
                            std::move(training));
  const std::atomic<bool> stop{false};
  const auto loss = [&] {
    const auto counts = cortorch::evaluate(network, cortorch::Loss::softmax_cross_entropy, data, {}, 16, stop);
    return counts.loss / static_cast<double>(counts.examples);
  };
  const double before = loss();
  const std::vector<double> factors(3, 1.0);  // batches of 16, 16 and 5
  using cortorch::Phase;
  for (uint32_t epoch = 0; epoch < 80; ++epoch) {
    const Phase phase = !targets         ? Phase::forward
                        : epoch < 40     ? Phase::both
                        : epoch % 2 == 0 ? Phase::inverse
                                         : Phase::forward;
    trainer.run(data, 16, {1, epoch, 0, 3 * epoch, phase}, factors, {}, stop);
  }
  const double after = loss();
  ++comparisons;
  // Targets without the difference rule find their way slowly.
  if (!(after < (rule == "tp" ? 0.95 : 0.7) * before))
    fail(name + ": loss " + std::to_string(before) + " → " + std::to_string(after));
}

using Kind = cortorch::LayerSpec::Kind;

cortorch::LayerSpec dense(int64_t units, Activation activation) {
  cortorch::LayerSpec spec;
  spec.kind = Kind::dense;
  spec.units = units;
  spec.activation = activation;
  return spec;
}

cortorch::LayerSpec window(Kind kind, int64_t channels, int64_t kernel, int64_t stride, int64_t padding) {
  cortorch::LayerSpec spec;
  spec.kind = kind;
  spec.channels = channels;
  spec.kernel = {kernel, kernel};
  spec.stride = {stride, stride};
  spec.padding = {padding, padding};
  spec.activation = channels == 0 ? Activation::identity : Activation::tanh;
  return spec;
}

cortorch::LayerSpec flatten() {
  cortorch::LayerSpec spec;
  spec.kind = Kind::flatten;
  return spec;
}

// Targets go through no pooling.
void check_target_networks(Random& random) {
  for (const std::string rule : {"tp", "dtp", "sdtp", "ao-sdtp"}) {
    cortorch::NetworkSpec spec;
    cortorch::Options options;
    if (rule == "ao-sdtp") options.set("auxiliary", 19.0);
    for (const Kind kind : {Kind::locally_connected2d, Kind::conv2d}) {
      if (kind == Kind::conv2d && rule != "dtp") continue;
      spec.input = {3, 7, 6};
      spec.layers = {window(kind, 17, 3, 2, 1), window(kind, 16, 2, 1, 0), flatten(), dense(20, Activation::tanh),
                     dense(3, Activation::identity)};
      check_training((kind == Kind::conv2d ? "convolutions, " : "locally connected network, ") + rule, spec, rule,
                     options, random);
    }
  }
}

void check_networks(Random& random) {
  for (const std::string rule : {"bp", "fa", "dfa"}) {
    cortorch::NetworkSpec spec;
    spec.input = {30};
    spec.layers = {dense(33, Activation::tanh), dense(3, Activation::identity)};
    check_training("dense network, " + rule, spec, rule, {}, random);
    for (const Kind kind : {Kind::locally_connected2d, Kind::conv2d}) {
      spec.input = {3, 9, 8};
      spec.layers = {window(kind, 17, 3, 2, 1),
                     window(Kind::max_pool2d, 0, 2, 1, 0),
                     window(kind, 16, 2, 1, 0),
                     window(Kind::avg_pool2d, 0, 2, 1, 1),
                     flatten(),
                     dense(3, Activation::identity)};
      const std::string name = (kind == Kind::conv2d ? "convolutions, " : "locally connected network, ") + rule;
      check_training(name, spec, rule, {}, random);
      if (rule != "dfa") continue;
      cortorch::Options shared;
      shared.set("dfaFeedback", "shared");
      check_training(name + ", shared", spec, rule, shared, random);
    }
  }
}

// What is asked wrongly is refused, and nothing is lost on the way out.
template <typename Body>
void refused(const std::string& what, Body body) {
  ++comparisons;
  try {
    body();
  } catch (const c10::Error&) {
    return;
  }
  fail(what + " was not refused");
}

void check_refusals() {
  refused("a kernel larger than the image", [] {
    cortorch::LocallyConnected2d(
        {.in_channels = 1, .in_height = 3, .in_width = 3, .out_channels = 1, .kernel_h = 4, .kernel_w = 1});
  });
  refused("no stride", [] {
    cortorch::Conv2d({.in_channels = 1,
                      .in_height = 3,
                      .in_width = 3,
                      .out_channels = 1,
                      .kernel_h = 1,
                      .kernel_w = 1,
                      .stride_h = 0});
  });
  refused("sizes whose product overflows", [] { cortorch::pooled_empty({int64_t{1} << 33, int64_t{1} << 33}); });
  refused("bytes that overflow", [] { cortorch::pooled_empty({int64_t{1} << 61}); });
  refused("a negative size", [] { cortorch::pooled_empty({-1, 70000}); });
}

// The allocator of the process is set once: a worker's environment that comes later must not change it under others.
void check_allocator() {
  c10::Allocator* const before = c10::GetCPUAllocator();
  cortorch::use_pool_everywhere();
  c10::SetCPUAllocator(before, 1);
  cortorch::use_pool_everywhere();
  if (c10::GetCPUAllocator() != before) fail("the allocator is set a second time");
}

// On a thread of its own: kernels keep scratch memory for their thread, and a fresh one has nothing left over in it.
template <typename Body>
void on_a_thread(const std::string& what, Body body) {
  std::thread([&] {
    try {
      body();
    } catch (const std::exception& error) {
      fail(what + ": " + error.what());
    }
  }).join();
  cortorch::trim_pool();
}

int64_t argument(int argc, char** argv, const char* name, int64_t fallback) {
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], name) == 0) return std::atoll(argv[i + 1]);
  }
  return fallback;
}

}  // namespace

int main(int argc, char** argv) {
  const auto seed = static_cast<uint64_t>(argument(argc, argv, "--seed", 1));
  const int64_t cases = argument(argc, argv, "--cases", 300);
  at::set_num_threads(static_cast<int>(argument(argc, argv, "--threads", 2)));
  check_comparison();
  for (int64_t i = 0; i < cases; ++i) {
    Random random(seed * 1'000'003 + static_cast<uint64_t>(i));
    check::exact_results = i % 4 != 3;  // now and then the pool itself
    const std::string name = "case " + std::to_string(i);
    on_a_thread(name, [&] { check_random_maps(random); });
    on_a_thread(name + " element-wise", [&] { check_elementwise(random); });
    if (i % 10 == 0) on_a_thread(name + " rules", [&] { check_rules(name, i % 20 == 10, random); });
  }
  for (const bool exact : {true, false}) {
    if (argument(argc, argv, "--networks", 1) == 0) break;
    check::exact_results = exact;
    Random random(seed);
    on_a_thread("networks", [&] { check_networks(random); });
    on_a_thread("target networks", [&] { check_target_networks(random); });
  }
  on_a_thread("refusals", [] { check_refusals(); });
  on_a_thread("costs", [&] {
    Random random(seed);
    check_costs(random);
  });
  check_allocator();
  std::printf("%lld comparisons, %lld products of the micro-kernel checked, %d failed\n",
              static_cast<long long>(comparisons), static_cast<long long>(check::checked_products), failures.load());
  return failures == 0 ? 0 : 1;
}
