// How many multiply-adds can this processor make, at most? Independent FMA chains that never leave the
// registers, on 1 or more threads. It answers every line on stdin with one measurement:
//   fma-peak THREADS < lines
//   {"seconds":0.2004,"gflops":469.8}
// Compiled when the benchmark runs, for this machine alone: g++ -O3 -march=native -pthread.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
constexpr int kChains = 24;  // of 32 registers
#elif defined(__AVX__)
constexpr int kWidth = 8;
constexpr int kChains = 12;  // of 16 registers; 10 are enough for two units of latency 5
#else
constexpr int kWidth = 4;
constexpr int kChains = 12;
#endif
typedef float Vector __attribute__((vector_size(kWidth * sizeof(float))));

float chains(std::int64_t iterations) {
  Vector x[kChains];
  for (int c = 0; c < kChains; ++c) x[c] = Vector{} + static_cast<float>(c + 1);
  const Vector factor = Vector{} + 0.9999f, term = Vector{} + 0.0001f;  // converges to 1: no overflow, no subnormals
  for (std::int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 32
    for (int c = 0; c < kChains; ++c) x[c] = x[c] * factor + term;
  }
  Vector sum{};
  for (int c = 0; c < kChains; ++c) sum += x[c];
  return sum[0];
}

double measure(int threads, std::int64_t iterations) {
  std::atomic<int> waiting{threads};
  std::atomic<float> sink{0};
  std::vector<std::thread> others;
  const auto work = [&] {
    waiting.fetch_sub(1);
    while (waiting.load() > 0) {
    }
    sink.store(chains(iterations));
  };
  for (int t = 1; t < threads; ++t) others.emplace_back(work);
  while (waiting.load() > 1) {
  }
  const auto start = std::chrono::steady_clock::now();
  work();
  for (std::thread& other : others) other.join();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int main(int, char** argv) {
  const int threads = argv[1] == nullptr ? 1 : std::atoi(argv[1]);
  if (threads < 1) return 2;
  const double flop = 2.0 * kWidth * kChains * threads;  // of one iteration
  // As many iterations as take 0.2 s.
  std::int64_t iterations = 1 << 20;
  const double trial = measure(threads, iterations);
  iterations = static_cast<std::int64_t>(static_cast<double>(iterations) * 0.2 / trial);
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c != '\n') continue;
    const double seconds = measure(threads, iterations);
    std::printf("{\"seconds\":%.6f,\"gflops\":%.3f}\n", seconds,
                flop * static_cast<double>(iterations) / seconds * 1e-9);
    std::fflush(stdout);
  }
}
