// In place of native/training/cuda/step_graph.h: a recorded step runs once more. What a step reads of the host while it is
// recorded stays as it was then, as in a graph, since the function is kept; tensors that it makes are made again.
#pragma once

#include <functional>
#include <string>

namespace cortorch::cuda {

class StepGraph {
 public:
  bool record(const std::function<void()>& step) {
    step_ = step;
    return true;
  }
  bool recorded() const { return static_cast<bool>(step_); }
  void replay() {
    ++replays();
    step_();
  }
  const std::string& failure() const { return failure_; }
  // For tests: how often any step was replayed.
  static long& replays() {
    static long count = 0;
    return count;
  }

 private:
  std::function<void()> step_;
  std::string failure_;
};

}  // namespace cortorch::cuda
