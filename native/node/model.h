// A network with the thread that runs it: what the JavaScript classes Network and Trainer share.
#pragma once

#include <napi.h>

#include <memory>
#include <utility>
#include <vector>

#include "base/pool.h"
#include "network/network.h"
#include "network/place.h"
#include "node/arithmetic_claim.h"
#include "node/compute_thread.h"
#include "training/trainer.h"

namespace cortorch::node {

// A trainer updates a model's parameters and goes with them, or when JavaScript lets go of it.
struct TrainerSlot {
  std::shared_ptr<Trainer> trainer;
};

class Model {
 public:
  Model(Napi::Env env, NetworkSpec spec, std::unique_ptr<Rule> rule, uint64_t seed, int threads, const Place& place)
      : place_(place),
        claim_(threads),
        arithmetic_(place),
        network_(std::make_unique<Network>(std::move(spec), std::move(rule), seed)),
        // What is still at work on a GPU when the thread ends uses memory that others may have next.
        thread_(env, claim_.threads(), [place] { enter(place); }, [place] { cortorch::settle(place); }) {
    move_to(*network_, place);
    settle();
    if (place.on_gpu()) trim_pool();  // the CPU's weights have gone there
  }
  ~Model() { close(false); }

  // Ends the thread, between two steps, and frees the parameters, the trainers and the claim on the thread count,
  // whoever still holds the model. What is submitted afterwards is ERR_DISPOSED.
  void close(bool reject_waiting) {
    thread_.end(reject_waiting);
    for (const auto& slot : trainers_) {
      if (const auto held = slot.lock()) held->trainer.reset();
    }
    trainers_.clear();
    network_.reset();
    claim_.release();
    arithmetic_.release();
    try {
      trim_pool();
      trim_memory(place_);
    } catch (...) {
      // Of a GPU that was lost: it has no memory to give back, and a destructor must not throw.
    }
  }

  // What JavaScript's thread has given to a GPU is done: the model's thread has a stream of its own.
  void settle() const { cortorch::settle(place_); }

  void add(const std::shared_ptr<TrainerSlot>& slot) {
    std::erase_if(trainers_, [](const auto& other) { return other.expired(); });
    trainers_.push_back(slot);
  }

  // Throws ERR_DISPOSED.
  Network& network() const {
    if (network_ == nullptr) throw CodedError("ERR_DISPOSED", "this network was disposed of");
    return *network_;
  }
  ComputeThread& thread() { return thread_; }
  int threads() const { return claim_.threads(); }

 private:
  Place place_;
  ThreadClaim claim_;
  ArithmeticClaim arithmetic_;
  std::unique_ptr<Network> network_;
  std::vector<std::weak_ptr<TrainerSlot>> trainers_;
  ComputeThread thread_;  // last: it ends before what it works on goes
};

}  // namespace cortorch::node
