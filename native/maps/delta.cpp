#include "maps/delta.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>
#include <c10/util/Exception.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/gpu.h"
#include "base/parallel.h"
#include "base/pool.h"
#include "base/ranges.h"
#include "base/simd.h"
#include "maps/cuda/elementwise_tensors.h"
#include "maps/image_layout.h"
#include "maps/tiles.h"

namespace cortorch {
namespace {

Tiles whole(const at::Tensor& x) { return {1, x.size(0), c10::multiply_integers(x.sizes().slice(1))}; }
Tiles locations_of(const at::Tensor& x) { return {x.size(2) * x.size(3), x.size(0), x.size(1)}; }

// In the order that a map with such biases wants, as tiles of which each column has one; where biases are shared it is
// all one row.
std::pair<at::Tensor, Tiles> in_tiles(BiasTiles kind, const at::Tensor& x) {
  switch (kind) {
    case BiasTiles::whole: return {x.contiguous(), whole(x)};
    case BiasTiles::by_location: return {location_major(x), locations_of(x)};
    case BiasTiles::shared: return {without_gaps(x), {1, 1, x.numel()}};
  }
  TORCH_INTERNAL_ASSERT(false);
}

// Calls body(first element, first unit, columns) for pieces of the tiles, by all threads. A piece is some columns of
// one tile, in whole cache lines: so each column is summed by one thread, in the order of the batch.
template <typename Body>
void for_pieces(const Tiles& tiles, int64_t values_a_thread, const Body& body) {
  constexpr int64_t kLine = 16;
  const int64_t lines = divide_up(tiles.columns, kLine), values = tiles.batch * std::min(tiles.columns, kLine);
  const int64_t grain = std::max<int64_t>(1, values_a_thread / std::max<int64_t>(1, values));
  at::parallel_for(0, tiles.count * lines, grain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t tile = begin / lines, first = begin % lines * kLine;
      const int64_t last_line = std::min(end, (tile + 1) * lines);
      const int64_t n = std::min(tiles.columns, (last_line - tile * lines) * kLine) - first;
      body(tile * tiles.batch * tiles.columns + first, tile * tiles.columns + first, n);
      begin = last_line;
    }
  });
}

// δ, which is g itself where that is δ, and its sums into `bias_sum` [count, columns], if that is defined.
at::Tensor delta_pass(const Tiles& tiles, Activation activation, const at::Tensor& g, const at::Tensor& y,
                      const at::Tensor& bias_sum, double scale) {
  const bool same = passes_through(activation, scale);
  const at::Tensor delta = same ? g : pooled_like(g);
  const at::Tensor sums = bias_sum.defined() ? bias_sum : at::empty({tiles.count * tiles.columns}, at::kFloat);
  const float *g_data = g.const_data_ptr<float>(), *y_data = y.const_data_ptr<float>();
  float* d_data = same ? nullptr : delta.mutable_data_ptr<float>();
  float* sum = sums.mutable_data_ptr<float>();
  for_pieces(tiles, kGrain / 2, [&](int64_t at, int64_t unit, int64_t n) {
    through_activation_tile(activation, g_data + at, y_data + at, d_data == nullptr ? nullptr : d_data + at, sum + unit,
                            tiles.batch, n, tiles.columns, scale);
  });
  return delta;
}

// r − t into `delta`, and its squares added to `squares`.
CORTORCH_CLONES void residual_row(const float* __restrict__ r, const float* __restrict__ t, float* __restrict__ delta,
                                  float* __restrict__ squares, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    delta[i] = r[i] - t[i];
    squares[i] += delta[i] * delta[i];
  }
}

// The sums of all units in the order of the tiles.
Residual residual_pass(const Tiles& tiles, Activation activation, const at::Tensor& r, const at::Tensor& t,
                       double scale) {
  const int64_t units = tiles.count * tiles.columns;
  Residual result{pooled_like(r),
                  at::empty({units}, r.options().requires_grad(false).memory_format(at::MemoryFormat::Contiguous)),
                  0,
                  {}};
  std::vector<float> squares(static_cast<std::size_t>(units), 0.0f);
  const float *r_data = r.const_data_ptr<float>(), *t_data = t.const_data_ptr<float>();
  float *d_data = result.delta.mutable_data_ptr<float>(), *sums = result.bias_sum.mutable_data_ptr<float>();
  for_pieces(tiles, kGrain, [&](int64_t at, int64_t unit, int64_t n) {
    for (int64_t b = 0; b < tiles.batch; ++b) {
      const int64_t row = at + b * tiles.columns;
      residual_row(r_data + row, t_data + row, d_data + row, squares.data() + unit, n);
    }
    through_activation_tile(activation, d_data + at, r_data + at, d_data + at, sums + unit, tiles.batch, n,
                            tiles.columns, scale);
  });
  for (const float square : squares) result.squares += square;
  return result;
}

}  // namespace

Delta delta(const LinearMap& map, Activation activation, const at::Tensor& g, const at::Tensor& y, double scale,
            bool want_bias) {
  const BiasTiles kind = map.bias_tiles();
  const bool gpu = has_gpu_kernels(g), shared = kind == BiasTiles::shared;
  if (!gpu && (shared || !has_cpu_kernels(g))) {
    const at::Tensor d = through_activation(activation, g, y, scale);
    return {d, want_bias ? sum_to_bias(map, d).contiguous() : at::Tensor()};
  }
  TORCH_INTERNAL_ASSERT(g.sizes() == y.sizes());
  const auto [from, tiles] = in_tiles(kind, g);
  Delta result{from, {}};
  if (want_bias && !shared) result.bias_sum = at::empty(map.bias_shape(), g.options().requires_grad(false));
  if (result.bias_sum.defined() || !passes_through(activation, scale)) {
    const at::Tensor output = in_order_of(y, from);
    result.delta = gpu ? cuda::delta(tiles, activation, from, output, result.bias_sum, scale)
                       : delta_pass(tiles, activation, from, output, result.bias_sum, scale);
  }
  if (want_bias && shared) result.bias_sum = sum_to_bias(map, result.delta);
  return result;
}

at::Tensor sum_to_bias(const LinearMap& map, const at::Tensor& delta) {
  switch (map.bias_tiles()) {
    case BiasTiles::whole: return at::sum(delta, 0);
    case BiasTiles::by_location: return at::sum(delta, 0).permute({1, 2, 0});
    case BiasTiles::shared: return at::sum(delta, {0, 2, 3});
  }
  TORCH_INTERNAL_ASSERT(false);
}

Residual residual(Activation activation, const at::Tensor& r, const at::Tensor& t, double scale) {
  const bool gpu = has_gpu_kernels(r);
  const at::Tensor x = ordered(r), target = in_order_of(t, x);
  if (!gpu && (!has_cpu_kernels(x) || !same_order(target, x))) {
    const at::Tensor error = at::sub(r, t), delta = through_activation(activation, error, r, scale);
    return {delta, at::sum(delta, 0), at::sum(at::mul(error, error), at::kDouble).item().toDouble(), {}};
  }
  const bool by_location = r.dim() == 4 && !r.is_contiguous();
  const Tiles tiles = by_location ? locations_of(x) : whole(x);
  Residual result =
      gpu ? cuda::residual(tiles, activation, x, target, scale) : residual_pass(tiles, activation, x, target, scale);
  result.bias_sum = by_location
                        ? result.bias_sum.view({x.size(2), x.size(3), x.size(1)}).permute({2, 0, 1}).contiguous()
                        : result.bias_sum.view(x.sizes().slice(1));
  return result;
}

}  // namespace cortorch
