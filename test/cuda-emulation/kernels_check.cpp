// Runs the CUDA kernels, compiled for the processor, on random sizes, and compares with loops in double that follow
// the definition. Most inputs are small integers: every sum is then exact, and so is the comparison.
// Usage: kernels_check SEED CASES [FIRST]; prints one line per operation and precision, or the first difference with
// the number of its case. Each case is drawn from the seed and its number: `kernels_check 1 78 77` repeats case 77
// alone.
#include <sys/mman.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/cuda/primitives.cuh"
#include "maps/cuda/delta.h"
#include "maps/cuda/locally_connected2d.h"
#include "maps/cuda/patch_product.cuh"

using namespace cortorch;
using namespace cortorch::cuda;

namespace {

std::mt19937_64 random_bits;
int case_number = 0;

void draw_for(unsigned seed, int number) {
  case_number = number;
  random_bits.seed(uint64_t{seed} * 1'000'003 + static_cast<uint64_t>(number));
}

// Not the distributions of <random>, which differ between libraries.
int pick(int low, int high) { return low + static_cast<int>(random_bits() % static_cast<uint64_t>(high - low + 1)); }
double uniform() { return static_cast<double>(random_bits() >> 11) * 0x1p-53; }
template <class T>
T one_of(std::initializer_list<T> values) {
  return values.begin()[pick(0, static_cast<int>(values.size()) - 1)];
}

struct Case {
  Conv2dGeometry g;
  int64_t batch;
  Precision precision;
  bool integers;
  Activation activation;
  bool bias;
};

std::string describe(const Case& c, const char* operation) {
  char text[512];
  const Conv2dGeometry& g = c.g;
  std::snprintf(text, sizeof text,
                "case %d: %s %s batch %ld in %ldx%ldx%ld out %ld kernel %ldx%ld stride %ldx%ld padding %ldx%ld "
                "dilation %ldx%ld "
                "activation %d bias %d integers %d",
                case_number, operation,
                c.precision == Precision::fp32   ? "fp32"
                : c.precision == Precision::tf32 ? "tf32"
                                                 : "bf16",
                c.batch, g.in_channels, g.in_height, g.in_width, g.out_channels, g.kernel_h, g.kernel_w, g.stride_h,
                g.stride_w, g.padding_h, g.padding_w, g.dilation_h, g.dilation_w, static_cast<int>(c.activation),
                c.bias, c.integers);
  return text;
}

float normal() {
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));
  return static_cast<float>(radius * std::cos(2 * std::acos(-1.0) * uniform()));
}

// A tensor in a heap block of exactly its size, so that the address sanitizer sees its edges, and its values in
// double. Some begin at an odd element.
template <class T>
struct Data {
  std::unique_ptr<T[]> block;
  T* data;
  std::vector<double> values;

  explicit Data(int64_t count, bool shifted = false)
      : block(new T[count + shifted]), data(block.get() + shifted), values(count) {
    for (int64_t i = 0; i < count; ++i) data[i] = from_float<T>(std::numeric_limits<float>::quiet_NaN());
  }
  void fill(const Case& c) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float value = c.integers ? static_cast<float>(pick(-3, 3)) : normal();
      data[i] = from_float<T>(value);
      values[i] = to_float(data[i]);
      // What the tensor cores are to make of a float: 10 bits of fraction, to the nearest.
      if (c.precision == Precision::tf32 && values[i] != 0) {
        const double unit = std::ldexp(1.0, std::ilogb(values[i]) - 10);
        values[i] = std::round(values[i] / unit) * unit;
      }
    }
  }
};

struct Sum {
  double value = 0, magnitude = 0;
  void add(double a, double b) { value += a * b, magnitude += std::abs(a * b); }
};

double sigma(Activation activation, double a) {
  switch (activation) {
    case Activation::tanh: return std::tanh(a);
    case Activation::relu: return a > 0 ? a : 0;
    case Activation::sigmoid: return 1 / (1 + std::exp(-a));
    default: return a;
  }
}

double sigma_slope(Activation activation, double y) {
  switch (activation) {
    case Activation::tanh: return 1 - y * y;
    case Activation::relu: return y > 0;
    case Activation::sigmoid: return y * (1 - y);
    default: return 1;
  }
}

template <class T>
void compare(const Case& c, const char* operation, const Data<T>& got, int64_t at, double expected, double magnitude) {
  const double value = to_float(got.data[at]);
  double tolerance = 0;
  if (!c.integers) tolerance = 2e-6 * magnitude + 2e-6 + (sizeof(T) == 2 ? std::abs(expected) / 200 : 0);
  const double wanted = c.integers ? to_float(from_float<T>(static_cast<float>(expected))) : expected;
  if (std::abs(value - wanted) <= tolerance) return;
  std::printf("DIFFERENCE at %ld: %.9g, expected %.9g: %s\n", at, value, wanted, describe(c, operation).c_str());
  std::exit(1);
}

// Calls visit(oh, ow, kh, kw, ih, iw) for all taps inside of the image.
template <class Visit>
void each_tap(const Conv2dGeometry& g, const Visit& visit) {
  for (int64_t oh = 0; oh < g.out_height(); ++oh)
    for (int64_t ow = 0; ow < g.out_width(); ++ow)
      for (int64_t kh = 0; kh < g.kernel_h; ++kh)
        for (int64_t kw = 0; kw < g.kernel_w; ++kw) {
          const int64_t ih = oh * g.stride_h - g.padding_h + kh * g.dilation_h;
          const int64_t iw = ow * g.stride_w - g.padding_w + kw * g.dilation_w;
          if (ih < 0 || ih >= g.in_height || iw < 0 || iw >= g.in_width) continue;
          const int64_t location = oh * g.out_width() + ow;
          visit(location, (location * g.kernel_h + kh) * g.kernel_w + kw, ih * g.in_width + iw);
        }
}

void must(cudaError_t error) {
  if (error != cudaSuccess) std::printf("DIFFERENCE: a launch was refused\n"), std::exit(1);
}

template <class T>
struct Check {
  Case c;
  Conv2dGeometry g = c.g;
  int64_t in = g.in_channels, out = g.out_channels, batch = c.batch;
  int64_t outputs = g.out_height() * g.out_width(), inputs = g.in_height * g.in_width;
  int64_t weights = outputs * g.kernel_h * g.kernel_w * in * out;
  bool shifted = pick(0, 9) == 0;

  void apply() {
    Data<T> w(weights, shifted), x(inputs * batch * in, shifted), bias(outputs * out, shifted),
        y(outputs * batch * out);
    w.fill(c), x.fill(c), bias.fill(c);
    must(locally_connected2d_apply(g, batch, c.precision, w.data, x.data, c.bias ? bias.data : nullptr, c.activation,
                                   y.data, nullptr));
    std::vector<Sum> sums(y.values.size());
    each_tap(g, [&](int64_t location, int64_t tap, int64_t place) {
      for (int64_t b = 0; b < batch; ++b)
        for (int64_t i = 0; i < in; ++i)
          for (int64_t o = 0; o < out; ++o)
            sums[(location * batch + b) * out + o].add(x.values[(place * batch + b) * in + i],
                                                       w.values[(tap * in + i) * out + o]);
    });
    for (int64_t at = 0; at < outputs * batch * out; ++at) {
      const int64_t location = at / (batch * out);
      const double a = sums[at].value + (c.bias ? to_float(bias.data[location * out + at % out]) : 0);
      compare(c, "apply", y, at, sigma(c.activation, a), sums[at].magnitude + std::abs(a));
    }
  }

  void adjoint() {
    Data<T> v(weights, shifted), y(outputs * batch * out, shifted), bias(inputs * in, shifted), x(inputs * batch * in);
    v.fill(c), y.fill(c), bias.fill(c);
    must(locally_connected2d_adjoint(g, batch, c.precision, v.data, y.data, c.bias ? bias.data : nullptr, c.activation,
                                     x.data, nullptr));
    std::vector<Sum> sums(x.values.size());
    each_tap(g, [&](int64_t location, int64_t tap, int64_t place) {
      for (int64_t b = 0; b < batch; ++b)
        for (int64_t i = 0; i < in; ++i)
          for (int64_t o = 0; o < out; ++o)
            sums[(place * batch + b) * in + i].add(y.values[(location * batch + b) * out + o],
                                                   v.values[(tap * in + i) * out + o]);
    });
    for (int64_t at = 0; at < inputs * batch * in; ++at) {
      const double a = sums[at].value + (c.bias ? to_float(bias.data[at / (batch * in) * in + at % in]) : 0);
      compare(c, "adjoint", x, at, sigma(c.activation, a), sums[at].magnitude + std::abs(a));
    }
  }

  void outer() {
    Data<T> x(inputs * batch * in, shifted), delta(outputs * batch * out, shifted), gradient(weights);
    x.fill(c), delta.fill(c);
    must(locally_connected2d_outer(g, batch, c.precision, x.data, delta.data, gradient.data, nullptr));
    std::vector<Sum> sums(gradient.values.size());
    each_tap(g, [&](int64_t location, int64_t tap, int64_t place) {
      for (int64_t b = 0; b < batch; ++b)
        for (int64_t i = 0; i < in; ++i)
          for (int64_t o = 0; o < out; ++o)
            sums[(tap * in + i) * out + o].add(x.values[(place * batch + b) * in + i],
                                               delta.values[(location * batch + b) * out + o]);
    });
    for (int64_t at = 0; at < weights; ++at) compare(c, "outer", gradient, at, sums[at].value, sums[at].magnitude);
  }

  void delta() {
    if (c.precision == Precision::tf32) return;  // as fp32
    Data<T> gradient(outputs * batch * out, shifted), y(outputs * batch * out, shifted), result(outputs * batch * out);
    Data<T> sums(outputs * out);
    gradient.fill(c), y.fill(c);
    const bool sum_alone = c.bias && pick(0, 3) == 0, in_place = !shifted && pick(0, 1) == 1;
    T* to = in_place ? gradient.data : result.data;
    const float scale = c.integers ? 2.0f : 0.75f;
    must(cuda::delta({outputs, batch, out}, c.precision, c.activation, scale, gradient.data, y.data,
                     sum_alone ? nullptr : to, c.bias ? sums.data : nullptr, nullptr));
    if (in_place) std::copy(to, to + result.values.size(), result.data);
    std::vector<Sum> expected(sums.values.size());
    for (int64_t at = 0; at < outputs * batch * out; ++at) {
      const double d = scale * gradient.values[at] * sigma_slope(c.activation, y.values[at]);
      if (!sum_alone) compare(c, "delta", result, at, d, std::abs(d) * 4);
      expected[at / (batch * out) * out + at % out].add(d, 1);
    }
    for (int64_t at = 0; c.bias && at < outputs * out; ++at)
      compare(c, "delta's sum", sums, at, expected[at].value, expected[at].magnitude * 4);
  }
};

void run(const Case& c, int operation) {
  const auto with = [&](auto check) {
    switch (operation) {
      case 0: return check.apply();
      case 1: return check.adjoint();
      case 2: return check.outer();
      default: return check.delta();
    }
  };
  c.precision == Precision::bf16 ? with(Check<bf16>{c}) : with(Check<float>{c});
}

// Kernels of any kind on images of a few pixels; any number of channels, the awkward ones above all.
Case small() {
  for (;;) {
    const auto channels = [] { return one_of<int64_t>({1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 24, 33}); };
    const Conv2dGeometry g{channels(), pick(1, 7), pick(1, 7), channels(), pick(1, 4), pick(1, 3),
                           pick(1, 3), pick(1, 4), pick(0, 3), pick(0, 2), pick(1, 3), pick(1, 2)};
    const auto room = [](int64_t in, int64_t kernel, int64_t padding, int64_t dilation) {
      return in + 2 * padding - dilation * (kernel - 1) - 1 >= 0;
    };
    if (!room(g.in_height, g.kernel_h, g.padding_h, g.dilation_h)) continue;
    if (!room(g.in_width, g.kernel_w, g.padding_w, g.dilation_w)) continue;
    if (g.out_height() * g.out_width() > 12) continue;
    return {g, one_of<int64_t>({1, 2, 3, 5, 8, 17, 33, 64}), {}, {}, {}, {}};
  }
}

// Sizes that reach each tile, its second one, and a ragged edge of it; one or two locations.
Case large() {
  const int64_t wide = one_of<int64_t>({48, 60, 64, 65, 90, 96, 120, 128, 130, 160, 192});
  const int64_t other = one_of<int64_t>({3, 8, 16, 20, 36, 40});
  const bool out_wide = pick(0, 1) == 0;
  const Conv2dGeometry g{
      out_wide ? other : wide, pick(1, 2), pick(1, 2), out_wide ? wide : other, 2, 2, 1, pick(1, 2), 1, 1, 2, 1};
  return {g, one_of<int64_t>({63, 65, 100, 128, 131}), {}, {}, {}, {}};
}

// Tensors of more than 2³¹ elements, of which only the last location is ever touched: the rest of the address space
// that they take stays without memory.
template <class T>
struct Sparse {
  std::size_t bytes;
  T* data;

  explicit Sparse(int64_t count) : bytes(static_cast<std::size_t>(count) * sizeof(T)) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    data = at == MAP_FAILED ? nullptr : static_cast<T*>(at);
  }
  ~Sparse() {
    if (data != nullptr) munmap(data, bytes);
  }
};

void far() {
  constexpr int64_t n = 16, batch = 17, locations = 2900 * 2900, last = locations - 1;
  static_assert(locations * n * n > int64_t{1} << 31 && locations * n * batch > int64_t{1} << 31);
  const Conv2dGeometry g{n, 2900, 2900, n, 1, 1};
  const Precision p = Precision::bf16;
  Sparse<bf16> w(locations * n * n), x(locations * batch * n), y(locations * batch * n);
  Sparse<bf16> back(locations * batch * n), gradient(locations * n * n), delta(locations * batch * n);
  for (const auto* each : {&w, &x, &y, &back, &gradient, &delta}) {
    if (each->data == nullptr) return void(std::printf("far: not checked, there is no address space for it\n"));
  }
  bf16 *const wl = w.data + last * n * n, *const xl = x.data + last * batch * n, *const yl = y.data + last * batch * n;
  bf16 *const bl = back.data + last * batch * n, *const gl = gradient.data + last * n * n;
  for (int i = 0; i < n * n; ++i) wl[i] = from_float<bf16>(static_cast<float>(pick(-3, 3)));
  for (int i = 0; i < batch * n; ++i) xl[i] = from_float<bf16>(static_cast<float>(pick(-3, 3)));
  emulation::blocks_at_most = 1;
  must(locally_connected2d_apply(g, batch, p, w.data, x.data, nullptr, Activation::identity, y.data, nullptr));
  must(locally_connected2d_adjoint(g, batch, p, w.data, x.data, nullptr, Activation::identity, back.data, nullptr));
  must(locally_connected2d_outer(g, batch, p, x.data, x.data, gradient.data, nullptr));
  must(cuda::delta({g.out_height() * g.out_width(), batch, n}, p, Activation::relu, 1, x.data, y.data, delta.data,
                   nullptr, nullptr));
  emulation::blocks_at_most = ~0u;
  const auto at = [](const bf16* m, int64_t row, int64_t column) { return to_float(m[row * n + column]); };
  const auto equal = [](const char* what, float got, float expected) {
    if (got == to_float(from_float<bf16>(expected))) return;
    std::printf("DIFFERENCE: %s of more than 2^31 elements: %g, expected %g\n", what, got, expected);
    std::exit(1);
  };
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t o = 0; o < n; ++o) {
      float sum = 0;
      for (int64_t b = 0; b < batch; ++b) sum += at(xl, b, i) * at(xl, b, o);
      equal("outer", at(gl, i, o), sum);
    }
    for (int64_t b = 0; b < batch; ++b) {
      float forward = 0, backward = 0;
      for (int64_t k = 0; k < n; ++k) forward += at(xl, b, k) * at(wl, k, i), backward += at(xl, b, k) * at(wl, i, k);
      equal("apply", at(yl, b, i), forward);
      equal("adjoint", at(bl, b, i), backward);
      equal("delta", at(delta.data + last * batch * n, b, i), forward > 0 ? at(xl, b, i) : 0);
    }
  }
  std::printf("far: checked\n");
}

// Walks along patches of images too large to be there: every address that a kernel would read, against 64 bits and
// divisions.
struct Patches : PatchProduct<unsigned char> {
  Patches(const Arguments& arguments, Taps h, Taps w) : PatchProduct(arguments, h, w, 0) {}
  int64_t exact(int row, int k) const {
    const Arguments& p = arguments_;
    const int64_t channels = p.channels.d, tap = k / channels, i = tap / w_.count, j = tap % w_.count;
    const int64_t line = h_.first_place + i * h_.place_step, column = w_.first_place + j * w_.place_step;
    return ((line * p.width + column) * p.geometry.batch + row) * channels + k % channels;
  }
};

void walks() {
  long walked = 0, refused = 0;
  const auto size = [](int most) { return static_cast<int64_t>(std::exp(uniform() * std::log(most))); };
  for (int i = 0; i < 20'000; ++i) {
    const Conv2dGeometry from{size(600),  size(1500), size(1500),   size(600),    pick(1, 3), pick(1, 3),
                              size(1500), size(1500), size(50) - 1, size(50) - 1, size(1500), size(1500)};
    if (from.out_height() < 1 || from.out_width() < 1) continue;
    Geometry g;
    if (!to_device(from, size(1'000'000), g)) {
      ++refused;
      continue;
    }
    const bool backward = pick(0, 1) == 1;
    const Taps h = backward ? g.h.of_input(pick(0, g.h.in - 1)) : g.h.of_output(pick(0, g.h.out - 1));
    const Taps w = backward ? g.w.of_input(pick(0, g.w.in - 1)) : g.w.of_output(pick(0, g.w.out - 1));
    const int channels = backward ? g.out_channels : g.in_channels, width = backward ? g.w.out : g.w.in;
    const unsigned char* const base = reinterpret_cast<unsigned char*>(uintptr_t{1} << 46);
    const Patches::Arguments arguments{g, Divisor(channels), width, 0, base, nullptr, nullptr, nullptr, {}, {}, {}};
    const Patches patches(arguments, h, w);
    const int row = pick(0, g.batch - 1), by = one_of({16, 32}), first = pick(0, by - 1);
    auto walk = patches.a().walk(row, first, by);
    for (int k = first; k < patches.depth; k += by, walk.advance(), ++walked) {
      if (walk.at() - base == patches.exact(row, k)) continue;
      std::printf("DIFFERENCE: step %d is walked to at %ld, and lies at %ld: %s\n", k, walk.at() - base,
                  patches.exact(row, k),
                  describe({from, g.batch, {}, {}, {}, {}}, backward ? "adjoint" : "apply").c_str());
      std::exit(1);
    }
  }
  std::printf("walks: %ld steps, %ld geometries refused\n", walked, refused);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) return std::fprintf(stderr, "usage: kernels_check SEED CASES [FIRST]\n"), 2;
  const unsigned seed = static_cast<unsigned>(std::atoi(arguments[1]));
  const int cases = std::atoi(arguments[2]), first = count > 3 ? std::atoi(arguments[3]) : 0;
  if (first == 0) {
    draw_for(seed, -1);
    far();
    walks();
  }
  std::map<std::string, int> ran;
  const char* const operations[] = {"apply", "adjoint", "outer", "delta"};
  const char* const precisions[] = {"fp32", "tf32", "bf16"};
  // A round of all twelve on large sizes and three on small ones.
  for (int i = first; i < cases; ++i) {
    draw_for(seed, i);
    const bool is_large = i / 12 % 4 == 1;
    Case c = is_large ? large() : small();
    c.precision = static_cast<Precision>(i % 3);
    c.integers = pick(0, 3) != 0;
    c.activation = c.integers ? one_of({Activation::identity, Activation::relu}) : static_cast<Activation>(pick(0, 3));
    c.bias = pick(0, 1) == 1;
    const int operation = i / 3 % 4;
    if (operation == 3 && pick(0, 3) == 0) c.g.out_channels = 300;  // more than a block has threads
    run(c, operation);
    ++ran[std::string(operations[operation]) + " " + precisions[i % 3] + (is_large ? " large" : " small")];
  }
  for (const auto& [name, times] : ran) std::printf("%s: %d\n", name.c_str(), times);
  const auto [accesses, conflicting] = emulation::bank_accesses;
  std::printf("bank conflicts: %ld of %ld\n", conflicting, accesses);
  return conflicting == 0 ? 0 : 1;
}
