#include "maps/gemm.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/ranges.h"
#include "base/scratch.h"
#include "maps/micro_kernel.h"
#include "maps/transpose.h"

namespace cortorch {
namespace {

// Columns of C made together and depth summed in one call: a packed panel of B is at most
// 64 × 512 × 4 bytes = 128 KiB and stays in the second-level cache while all rows of A pass over it.
constexpr int64_t kPanelColumns = 64;
constexpr int64_t kPanelDepth = 512;
// Below this many multiply-adds a second thread costs more than it brings (a parallel region takes a few
// microseconds; 2^17 multiply-adds take about two at 60 GFMA/s).
constexpr int64_t kSmallProduct = int64_t{1} << 17;

// The part'th of `parts` nearly equal pieces of 0..size, cut at multiples of `grain`.
Range piece(int64_t size, int64_t part, int64_t parts, int64_t grain) {
  const int64_t grains = divide_up(size, grain);
  return {std::min(size, grains * part / parts * grain), std::min(size, grains * (part + 1) / parts * grain)};
}

// How the threads share C: `rows` × `columns` rectangles, one a thread.
struct Grid {
  int64_t rows, columns;
};

constexpr int64_t kRowGrain = 4;      // rows of C that the micro-kernel holds in registers, at least
constexpr int64_t kColumnGrain = 16;  // one AVX-512 vector, one cache line

Grid choose_grid(int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b) {
  const int64_t threads = at::in_parallel_region() || m * n * k < kSmallProduct ? 1 : at::get_num_threads();
  Grid best{1, 1};
  double best_cost = -1;
  for (int64_t rows = 1; rows <= threads; ++rows) {
    if (threads % rows != 0) continue;
    const int64_t columns = threads / rows;
    // The largest rectangle decides. Moving an element into a panel costs about ten multiply-adds of a
    // vector lane; reading an unpacked one about two.
    const double tall = static_cast<double>(round_up(divide_up(m, rows), kRowGrain));
    const double wide = static_cast<double>(round_up(divide_up(n, columns), kColumnGrain));
    const double depth = static_cast<double>(k);
    const double cost =
        tall * wide * depth + tall * depth * (a.transposed ? 10 : 2) + wide * depth * (b.transposed ? 10 : 2);
    if (best_cost < 0 || cost < best_cost) {
      best_cost = cost;
      best = {rows, columns};
    }
  }
  return best;
}

// One thread's rectangle of C.
void gemm_rectangle(Range rows, Range columns, int64_t k, const Operand& a, const Operand& b, float* c, int64_t ldc,
                    Epilogue epilogue) {
  static thread_local Scratch scratch_a;
  static thread_local Scratch scratch_b;

  const float* a_data = a.data + rows.begin * a.ld;
  int64_t lda = a.ld;
  if (a.transposed) {
    lda = round_up<int64_t>(k, 16);
    float* packed = scratch_a.get<float>(static_cast<std::size_t>(rows.size() * lda));
    transpose(a.data + rows.begin, k, rows.size(), a.ld, packed, lda);
    a_data = packed;
  }
  for (int64_t n0 = columns.begin; n0 < columns.end; n0 += kPanelColumns) {
    const int64_t n = std::min(kPanelColumns, columns.end - n0);
    float* tile = c + rows.begin * ldc + n0;
    for (int64_t k0 = 0; k0 < k; k0 += kPanelDepth) {
      const int64_t depth = std::min(kPanelDepth, k - k0);
      const float* b_data = b.data + k0 * b.ld + n0;
      int64_t ldb = b.ld;
      if (b.transposed) {
        ldb = kPanelColumns;
        float* packed = scratch_b.get<float>(static_cast<std::size_t>(kPanelColumns * kPanelDepth));
        transpose(b.data + n0 * b.ld + k0, n, depth, b.ld, packed, ldb);
        b_data = packed;
      }
      micro_kernel(rows.size(), n, depth, a_data + k0, lda, b_data, ldb, tile, ldc, k0 > 0);
    }
    epilogue(tile, rows.size(), n, ldc, n0);
  }
}

}  // namespace

void gemm(int64_t m, int64_t n, int64_t k, Operand a, Operand b, float* c, int64_t ldc, Epilogue epilogue) {
  if (m == 0 || n == 0) return;
  if (k == 0) {  // an empty sum
    for (int64_t i = 0; i < m; ++i) std::fill_n(c + i * ldc, n, 0.0f);
    epilogue(c, m, n, ldc, 0);
    return;
  }
  const Grid grid = choose_grid(m, n, k, a, b);
  const auto work = [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const Range rows = piece(m, part / grid.columns, grid.rows, kRowGrain);
      const Range columns = piece(n, part % grid.columns, grid.columns, kColumnGrain);
      if (rows.size() > 0 && columns.size() > 0) gemm_rectangle(rows, columns, k, a, b, c, ldc, epilogue);
    }
  };
  const int64_t parts = grid.rows * grid.columns;
  if (parts == 1) {
    work(0, 1);
  } else {
    at::parallel_for(0, parts, 1, work);
  }
}

void gemm(int64_t m, int64_t n, int64_t k, Operand a, Operand b, float* c, int64_t ldc) {
  gemm(m, n, k, a, b, c, ldc, [](float*, int64_t, int64_t, int64_t, int64_t) {});
}

}  // namespace cortorch
