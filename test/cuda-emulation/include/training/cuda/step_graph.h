// In place of native/training/cuda/step_graph.h: a recorded step runs once more. A graph would launch to the bit what
// was recorded, so whatever a step takes from the host, and that differs from one step to the next, is found here.
// A launch in it may be refused as any other, where a real graph is launched as a whole or not at all.
#pragma once

#include <c10/util/Exception.h>
#include <cuda_runtime.h>

#include <functional>
#include <string>
#include <vector>

namespace cortorch::cuda {

using GraphMemory = int;
inline GraphMemory new_graph_memory() { return 0; }

class StepGraph {
 public:
  bool record(const std::function<void()>& step, const GraphMemory&) {
    step_ = step;
    return true;
  }
  bool recorded() const { return static_cast<bool>(step_); }
  void replay() {
    ++replays();
    std::vector<uint64_t> launches;
    struct Noted {
      explicit Noted(std::vector<uint64_t>& to) { emulation::launches = &to; }
      ~Noted() { emulation::launches = nullptr; }
    };
    {
      const Noted noted(launches);
      step_();
    }
    if (launches_.empty()) launches_ = launches;
    TORCH_CHECK(launches == launches_, "EMULATION: a replayed step launches something else than before");
  }
  const std::string& failure() const { return failure_; }
  // For tests: how often any step was replayed.
  static long& replays() {
    static long count = 0;
    return count;
  }

 private:
  std::function<void()> step_;
  std::vector<uint64_t> launches_;
  std::string failure_;
};

}  // namespace cortorch::cuda
