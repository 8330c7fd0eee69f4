#include "training/cuda/step_graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>

#include <exception>

namespace cortorch::cuda {

struct StepGraph::Graph {
  at::cuda::CUDAGraph graph;
};

StepGraph::StepGraph() = default;
StepGraph::~StepGraph() = default;

bool StepGraph::recorded() const { return graph_ != nullptr; }

GraphMemory new_graph_memory() { return at::cuda::graph_pool_handle(); }

bool StepGraph::record(const std::function<void()>& step, const GraphMemory& memory) {
  c10::cuda::getCurrentCUDAStream().synchronize();
  // A graph keeps memory of its own; what the steps before left unused would lie beside it.
  c10::cuda::CUDACachingAllocator::emptyCache();
  auto graph = std::make_unique<Graph>();
  bool begun = false;
  try {
    // Only this thread and autograd's, which launch for it, are looked at: other models may go on.
    graph->graph.capture_begin(memory, cudaStreamCaptureModeThreadLocal);
    begun = true;
    step();
    begun = false;
    graph->graph.capture_end();
    graph_ = std::move(graph);
    return true;
  } catch (const c10::Error& error) {
    failure_ = error.what_without_backtrace();
  } catch (const std::exception& error) {
    failure_ = error.what();
  }
  try {
    if (begun) graph->graph.capture_end();
  } catch (const std::exception&) {  // of a capture that was broken off: the reason is known
  }
  try {
    graph->graph.reset();
  } catch (const std::exception&) {
  }
  cudaGetLastError();
  return false;
}

void StepGraph::replay() { graph_->graph.replay(); }

}  // namespace cortorch::cuda
