// A network with the thread that runs it: what the JavaScript classes Network and Trainer share.
#pragma once

#include <napi.h>

#include <memory>

#include "network/network.h"
#include "node/compute_thread.h"

namespace cortorch::node {

struct Model {
  Model(Napi::Env env, NetworkSpec spec, uint64_t seed, int threads)
      : team(claim_threads(threads)), network(build(std::move(spec), seed)), thread(env, team) {}
  ~Model() {
    thread.end(false);
    release_threads();
  }

  int team;
  Network network;
  ComputeThread thread;  // last: it ends before what it works on goes

 private:
  // A failed construction must give the claim back.
  static Network build(NetworkSpec spec, uint64_t seed) {
    try {
      return Network(std::move(spec), seed);
    } catch (...) {
      release_threads();
      throw;
    }
  }
};

}  // namespace cortorch::node
