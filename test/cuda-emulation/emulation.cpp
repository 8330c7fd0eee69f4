// A GPU's execution model, as far as the kernels rely on it: every CUDA thread is a fiber; a barrier, and a
// warp's common instruction, wait for all that take part. Shared memory has a shadow that knows who wrote and read
// each half-word since which barrier, so that a missing barrier is found whatever the order of execution; copies
// in the background land when they are waited for, and whatever touches them earlier is found.
#include <cuda_runtime.h>
#include <sanitizer/asan_interface.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/cuda/primitives.cuh"

dim3 threadIdx, blockIdx, blockDim;

namespace emulation {

unsigned blocks_at_most = ~0u;
std::vector<uint64_t>* launches = nullptr;
long launches_until_failure = -1;
BankAccesses bank_accesses;

namespace {

constexpr int warp_size = 32;
constexpr std::size_t stack_size = 1 << 17;

struct Copy {
  unsigned char* to;
  std::size_t bytes;
  unsigned char data[16];
};

struct Thread {
  void* stack_pointer;
  bool finished;
  unsigned barriers;                      // passed so far
  std::vector<std::vector<Copy>> groups;  // committed and not yet waited for
  std::vector<Copy> open;
};

// What a warp's common instruction got from each lane.
struct Warp {
  const char* instruction = nullptr;
  int arrived = 0;
  unsigned generation = 0;
  const void* in[3][warp_size];
  void* out[warp_size];
  // Reads of shared memory and copies to it since all lanes were last known to be at one place.
  struct Access {
    uintptr_t at;
    std::size_t bytes;
  };
  std::vector<Access> accesses[warp_size];
};

struct Cell {  // of two bytes
  int writer = -1, reader = -1, in_flight = -1;
  unsigned written = 0, read = 0;  // after how many barriers
};
constexpr int several = -2;

std::vector<Thread> threads;
std::vector<Warp> warps;
std::vector<Cell> cells;
std::vector<std::unique_ptr<unsigned char[]>> stacks;
struct Free {
  void operator()(unsigned char* pointer) const { std::free(pointer); }
};
std::unique_ptr<unsigned char, Free> memory;
std::size_t memory_bytes;
const std::function<void()>* body;
void* scheduler;
int current, running, at_barrier;
unsigned barrier_generation;
long idle_switches;  // without anything having happened in between

}  // namespace

void fail(const char* what) {
  std::printf("EMULATION: %s (block %u, thread %d, after %u barriers)\n", what, blockIdx.x, current,
              threads[current].barriers);
  std::fflush(stdout);
  _exit(1);
}

extern "C" void emulation_switch(void** save, void* to);
asm(R"(
.text
.globl emulation_switch
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

namespace {

void go_to(int thread, void** save) {
  current = thread;
  threadIdx = dim3(static_cast<unsigned>(thread), 0, 0);
  emulation_switch(save, threads[thread].stack_pointer);
}

void yield() {
  if (++idle_switches > 4 * static_cast<long>(threads.size())) {
    fail("not all threads reach a barrier or a warp's instruction");
  }
  const int from = current;
  int next = from;
  do next = (next + 1) % static_cast<int>(threads.size());
  while (threads[next].finished);
  if (next != from) go_to(next, &threads[from].stack_pointer);
}

void thread_main() {
  (*body)();
  Thread& self = threads[current];
  if (!self.groups.empty() || !self.open.empty()) fail("a thread ends with copies in flight");
  self.finished = true;
  idle_switches = 0;
  if (--running == 0) {
    void* nowhere;
    emulation_switch(&nowhere, scheduler);
  }
  yield();
}

void start(Thread& thread, unsigned char* stack) {
  ASAN_UNPOISON_MEMORY_REGION(stack, stack_size);  // the last fiber's outermost frames were never left
  auto* top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + stack_size) & ~uintptr_t{15});
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&thread_main);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  thread.stack_pointer = top;
  thread.finished = false;
  thread.barriers = 0;
  thread.groups.clear();
  thread.open.clear();
}

// The cells of an access, which must be aligned to its size and inside of the shared memory.
template <class Visit>
void each_cell(const void* at, std::size_t bytes, const Visit& visit) {
  const auto offset = static_cast<std::size_t>(static_cast<const unsigned char*>(at) - memory.get());
  if (offset >= memory_bytes || bytes > memory_bytes - offset) fail("an access outside of shared memory");
  if (offset % bytes != 0) fail("a misaligned access to shared memory");
  for (std::size_t i = offset / 2; i < (offset + bytes) / 2; ++i) visit(cells[i]);
}

void begin_write(Cell& cell) {
  const unsigned now = threads[current].barriers;
  if (cell.in_flight >= 0) fail("a write to shared memory that a copy is on its way to");
  if (cell.writer >= 0 && cell.writer != current && cell.written == now) fail("two threads write without a barrier");
  if (cell.reader != -1 && cell.reader != current && cell.read == now) fail("a write after a read without a barrier");
}

void end_write(Cell& cell) {
  cell.in_flight = -1;
  cell.writer = current;
  cell.written = threads[current].barriers;
}

// Counts how the lanes' accesses went to the 32 banks of four bytes, now that all are at one place. The n-th access of
// each lane is taken for one instruction, if all have made as many. Such a one is done in passes of 128 bytes; in a
// pass, a bank that is asked for two different words is asked twice.
void count_bank_accesses(Warp& warp) {
  auto& accesses = warp.accesses;
  const std::size_t count = accesses[0].size();
  const bool same =
      std::all_of(std::begin(accesses), std::end(accesses), [&](const auto& lane) { return lane.size() == count; });
  for (std::size_t n = 0; same && n < count; ++n) {
    const int words = std::max(1, static_cast<int>(accesses[0][n].bytes / 4)), lanes = warp_size / words;
    bool conflict = false;
    for (int first = 0; first < warp_size; first += lanes) {
      uintptr_t asked[32] = {};
      for (int lane = first; lane < first + lanes; ++lane) {
        for (int word = 0; word < words; ++word) {
          const uintptr_t at = accesses[lane][n].at / 4 + static_cast<uintptr_t>(word);
          uintptr_t& bank = asked[at % 32];
          conflict = conflict || (bank != 0 && bank != at);
          bank = at;
        }
      }
    }
    ++bank_accesses.all;
    bank_accesses.conflicting += conflict;
  }
  for (auto& lane : accesses) lane.clear();
}

void note_access(const void* at, std::size_t bytes) {
  warps[current / warp_size].accesses[current % warp_size].push_back({reinterpret_cast<uintptr_t>(at), bytes});
}

// Waits for all lanes; the last to come does the work for all.
template <class Work>
void together(const char* instruction, const void* in0, const void* in1, const void* in2, void* out, const Work& work) {
  Warp& warp = warps[current / warp_size];
  const int lane = current % warp_size;
  if (warp.arrived > 0 && warp.instruction != instruction) fail("lanes of a warp are at different instructions");
  warp.instruction = instruction;
  warp.in[0][lane] = in0, warp.in[1][lane] = in1, warp.in[2][lane] = in2, warp.out[lane] = out;
  idle_switches = 0;
  if (++warp.arrived == warp_size) {
    count_bank_accesses(warp);
    work(warp);
    warp.arrived = 0;
    ++warp.generation;
    return;
  }
  const unsigned generation = warp.generation;
  while (warp.generation == generation) yield();
}

float tf32(uint32_t bits) { return std::bit_cast<float>(bits & ~0x1fffu); }
float bf16_half(uint32_t bits, int half) { return std::bit_cast<float>(half == 0 ? bits << 16 : bits & 0xffff0000u); }

// c += a·b, 16×depth by depth×8; where c's elements lie is the same for all types.
template <int depth>
void accumulate(Warp& warp, const float (&a)[16][depth], const float (&b)[depth][8]) {
  for (int lane = 0; lane < warp_size; ++lane) {
    auto* c = static_cast<float*>(warp.out[lane]);
    for (int e = 0; e < 4; ++e) {
      const int row = lane / 4 + e / 2 * 8, column = lane % 4 * 2 + e % 2;
      float sum = 0;
      for (int k = 0; k < depth; ++k) sum += a[row][k] * b[k][column];
      c[e] += sum;
    }
  }
}

}  // namespace

unsigned char* shared_memory() { return memory.get(); }

void before_read(const void* at, std::size_t bytes) {
  note_access(at, bytes);
  each_cell(at, bytes, [](Cell& cell) {
    const unsigned now = threads[current].barriers;
    if (cell.in_flight >= 0) fail("a read of shared memory that a copy is on its way to");
    if (cell.writer < 0) fail("a read of shared memory that was never written");
    if (cell.writer != current && cell.written == now) fail("a read after another thread's write without a barrier");
    cell.reader = cell.read == now && cell.reader != -1 && cell.reader != current ? several : current;
    cell.read = now;
  });
}

void before_write(const void* at, std::size_t bytes) {
  each_cell(at, bytes, [](Cell& cell) {
    begin_write(cell);
    end_write(cell);
  });
}

void copy_async(void* to, const void* from, std::size_t bytes, bool inside) {
  if (reinterpret_cast<uintptr_t>(from) % bytes != 0 && inside) fail("a copy from a misaligned address");
  if (bytes == 16) note_access(to, bytes);  // single elements are the slow way
  Copy copy{static_cast<unsigned char*>(to), bytes, {}};
  if (inside) std::memcpy(copy.data, from, bytes);
  each_cell(to, bytes, [](Cell& cell) {
    begin_write(cell);
    cell.in_flight = current;
  });
  threads[current].open.push_back(copy);
}

void commit_copies() {
  Thread& self = threads[current];
  self.groups.push_back(std::move(self.open));
  self.open.clear();
}

void wait_copies(int but) {
  auto& groups = threads[current].groups;
  while (static_cast<int>(groups.size()) > but) {
    for (const Copy& copy : groups.front()) {
      std::memcpy(copy.to, copy.data, copy.bytes);
      each_cell(copy.to, copy.bytes, end_write);
    }
    groups.erase(groups.begin());
  }
}

void load_matrices(uint32_t* out, const void* row, bool transposed) {
  before_read(row, 16);
  together(transposed ? "ldmatrix.trans" : "ldmatrix", row, nullptr, nullptr, out, [transposed](Warp& warp) {
    for (int lane = 0; lane < warp_size; ++lane) {
      for (int m = 0; m < 4; ++m) {
        const auto element = [&](int i, int j) -> uint32_t {
          return static_cast<const uint16_t*>(warp.in[0][m * 8 + i])[j];
        };
        const int i = lane / 4, j = lane % 4 * 2;
        const uint32_t low = transposed ? element(j, i) : element(i, j);
        const uint32_t high = transposed ? element(j + 1, i) : element(i, j + 1);
        static_cast<uint32_t*>(warp.out[lane])[m] = low | high << 16;
      }
    }
  });
}

void multiply_tf32(float* c, const uint32_t* a, const uint32_t* b) {
  together("mma.m16n8k8", a, b, nullptr, c, [](Warp& warp) {
    float am[16][8], bm[8][8];
    for (int lane = 0; lane < warp_size; ++lane) {
      const int group = lane / 4, member = lane % 4;
      const auto* al = static_cast<const uint32_t*>(warp.in[0][lane]);
      const auto* bl = static_cast<const uint32_t*>(warp.in[1][lane]);
      am[group][member] = tf32(al[0]), am[group + 8][member] = tf32(al[1]);
      am[group][member + 4] = tf32(al[2]), am[group + 8][member + 4] = tf32(al[3]);
      bm[member][group] = tf32(bl[0]), bm[member + 4][group] = tf32(bl[1]);
    }
    accumulate<8>(warp, am, bm);
  });
}

void multiply_bf16(float* c, const uint32_t* a, const uint32_t* b) {
  together("mma.m16n8k16", a, b, nullptr, c, [](Warp& warp) {
    float am[16][16], bm[16][8];
    for (int lane = 0; lane < warp_size; ++lane) {
      const int group = lane / 4, k = lane % 4 * 2;
      const auto* al = static_cast<const uint32_t*>(warp.in[0][lane]);
      const auto* bl = static_cast<const uint32_t*>(warp.in[1][lane]);
      for (int half = 0; half < 2; ++half) {
        am[group][k + half] = bf16_half(al[0], half), am[group + 8][k + half] = bf16_half(al[1], half);
        am[group][k + 8 + half] = bf16_half(al[2], half), am[group + 8][k + 8 + half] = bf16_half(al[3], half);
        bm[k + half][group] = bf16_half(bl[0], half), bm[k + 8 + half][group] = bf16_half(bl[1], half);
      }
    }
    accumulate<16>(warp, am, bm);
  });
}

void launch(const cudaLaunchConfig_t& config, const std::function<void()>& thread) {
  const int count = static_cast<int>(config.blockDim.x);
  if (config.dynamicSmemBytes > 99 * 1024 || count > 1024 || count % warp_size != 0)
    fail("a launch that a GPU refuses");
  body = &thread;
  blockDim = config.blockDim;
  memory_bytes = config.dynamicSmemBytes;
  void* allocated = nullptr;
  if (posix_memalign(&allocated, 128, std::max<std::size_t>(1, memory_bytes)) != 0) std::abort();
  memory.reset(static_cast<unsigned char*>(allocated));
  threads.resize(static_cast<std::size_t>(count));
  while (stacks.size() < threads.size()) stacks.emplace_back(new unsigned char[stack_size]);
  const unsigned first = config.gridDim.x > blocks_at_most ? config.gridDim.x - blocks_at_most : 0;
  for (unsigned block = first; block < config.gridDim.x; ++block) {
    blockIdx = dim3(block, 0, 0);
    std::memset(memory.get(), 0xff, memory_bytes);  // NaN
    cells.assign(memory_bytes / 2, Cell{});
    warps.assign(static_cast<std::size_t>(count / warp_size), Warp{});
    for (std::size_t i = 0; i < threads.size(); ++i) start(threads[i], stacks[i].get());
    running = count, at_barrier = 0, barrier_generation = 0, idle_switches = 0;
    go_to(0, &scheduler);
    for (Warp& warp : warps) count_bank_accesses(warp);
  }
}

}  // namespace emulation

void __syncthreads() {
  using namespace emulation;
  Thread& self = threads[current];
  idle_switches = 0;
  if (++at_barrier == static_cast<int>(threads.size())) {
    at_barrier = 0;
    ++barrier_generation;
    for (Warp& warp : warps) count_bank_accesses(warp);
  } else {
    const unsigned generation = barrier_generation;
    while (barrier_generation == generation) yield();
  }
  ++self.barriers;
}
