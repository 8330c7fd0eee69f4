// How many bytes can this processor read and write in a second, at most? Arrays far beyond the last cache, on 1 or
// more threads: copied with ordinary stores (the line that is written is read first, which is not counted), copied
// with non-temporal ones, and updated in place, as an optimizer does. Bytes read and bytes written both count. It
// answers every line on stdin with one measurement:
//   copy-bandwidth THREADS < lines
//   {"seconds":0.2104,"ordinary":21.1,"nontemporal":30.9,"inplace":29.8,"gbps":30.9}
// Compiled when the benchmark runs, for this machine alone: g++ -O3 -march=native -pthread.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#if defined(__SSE__)
#include <immintrin.h>
#endif

namespace {

constexpr std::int64_t kAlignment = 2 << 20;  // large pages, where the system has them on request: the strongest form
constexpr std::int64_t kLeastBytes = 256 << 20;  // of an array
constexpr std::int64_t kCaches = 4;              // an array is so many times the last cache

void copy(const float* __restrict from, float* __restrict to, std::int64_t n) {
  // Not memcpy, which chooses its stores itself: the barrier keeps the loop a loop.
  for (std::int64_t i = 0; i < n; i += 64) {
    for (int j = 0; j < 64; ++j) to[i + j] = from[i + j];
    asm volatile("" ::: "memory");
  }
}

void copy_past_caches(const float* __restrict from, float* __restrict to, std::int64_t n) {
#if defined(__AVX512F__)
  for (std::int64_t i = 0; i < n; i += 16) _mm512_stream_ps(to + i, _mm512_load_ps(from + i));
  _mm_sfence();
#elif defined(__AVX__)
  for (std::int64_t i = 0; i < n; i += 8) _mm256_stream_ps(to + i, _mm256_load_ps(from + i));
  _mm_sfence();
#elif defined(__SSE__)
  for (std::int64_t i = 0; i < n; i += 4) _mm_stream_ps(to + i, _mm_load_ps(from + i));
  _mm_sfence();
#else
  copy(from, to, n);
#endif
}

void update(const float*, float* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = to[i] * 0.5f + 0.5f;  // converges to 1: no subnormals
}

using Work = void (*)(const float*, float*, std::int64_t);

/** Seconds that the threads take, each with a part of the arrays. */
double measure(int threads, Work work, const float* from, float* to, std::int64_t n) {
  std::atomic<int> waiting{threads};
  const auto part = [&](int t) {
    const std::int64_t step = kAlignment / static_cast<std::int64_t>(sizeof(float));
    const auto begin = [&](std::int64_t i) { return n / step * i / threads * step; };
    waiting.fetch_sub(1);
    while (waiting.load() > 0) {
    }
    work(from + begin(t), to + begin(t), begin(t + 1) - begin(t));
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(part, t);
  while (waiting.load() > 1) {
  }
  const auto start = std::chrono::steady_clock::now();
  part(0);
  for (std::thread& other : others) other.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int main(int, char** argv) {
  const int threads = argv[1] == nullptr ? 1 : std::atoi(argv[1]);
  if (threads < 1) return 2;
  std::int64_t cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  const std::int64_t bytes = std::max(kLeastBytes, kCaches * cache) / kAlignment * kAlignment;
  const std::int64_t n = bytes / static_cast<std::int64_t>(sizeof(float));
  auto* from = static_cast<float*>(std::aligned_alloc(kAlignment, static_cast<std::size_t>(bytes)));
  auto* to = static_cast<float*>(std::aligned_alloc(kAlignment, static_cast<std::size_t>(bytes)));
  if (from == nullptr || to == nullptr) return 1;
#if defined(MADV_HUGEPAGE)
  for (float* array : {from, to}) madvise(array, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
#endif
  // First touched by the threads that will use them.
  measure(threads, [](const float*, float* a, std::int64_t m) { std::fill(a, a + m, 1.0f); }, to, from, n);
  measure(threads, copy, from, to, n);
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c != '\n') continue;
    const double moved = 2.0 * static_cast<double>(bytes) * 1e-9;
    const double seconds[] = {measure(threads, copy, from, to, n), measure(threads, copy_past_caches, from, to, n),
                              measure(threads, update, from, to, n)};
    const double best = *std::min_element(std::begin(seconds), std::end(seconds));
    std::printf("{\"seconds\":%.6f,\"ordinary\":%.3f,\"nontemporal\":%.3f,\"inplace\":%.3f,\"gbps\":%.3f}\n",
                seconds[0] + seconds[1] + seconds[2], moved / seconds[0], moved / seconds[1], moved / seconds[2],
                moved / best);
    std::fflush(stdout);
  }
}
