// A step's launches, recorded once as a CUDA graph and replayed: a small network's kernels take less time than
// launching them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace cortorch::cuda {

// Memory that graphs have together: nothing that a step makes lives past it, so one may use what another one left.
// Those who share it are replayed on one stream.
using GraphMemory = std::pair<unsigned long long, unsigned long long>;
GraphMemory new_graph_memory();

class StepGraph {
 public:
  StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;
  ~StepGraph();

  // Records what `step` launches on the current stream, which must not be the default one; nothing of it runs. It must
  // have run before, so that libraries have made what they make only once. False if that cannot be recorded: failure()
  // says why.
  bool record(const std::function<void()>& step, const GraphMemory& memory);
  bool recorded() const;
  // Runs it once. Its tensors stay where they were while it was recorded.
  void replay();
  const std::string& failure() const { return failure_; }

 private:
  struct Graph;
  std::unique_ptr<Graph> graph_;
  std::string failure_;
};

}  // namespace cortorch::cuda
