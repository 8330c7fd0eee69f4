// The one thread that runs a model. OpenMP keeps a team of threads per calling thread, so a model's steps
// never hop between threads; JavaScript gets promises and stays responsive.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "node/errors.h"

namespace cortorch::node {

class ComputeThread {
 public:
  // `threads` is the size of the team; see claim_threads.
  ComputeThread(Napi::Env env, int threads);
  ComputeThread(const ComputeThread&) = delete;
  ComputeThread& operator=(const ComputeThread&) = delete;
  ~ComputeThread();

  // Runs `work` on the thread, after what was submitted before; `finish` makes its result a JavaScript value.
  // `keep` (the model that owns this thread, as a rule) is let go on JavaScript's thread when all is done:
  // a model that died on its own thread would have to join itself, so `work` must not own it.
  template <typename Work, typename Finish>
  Napi::Promise submit(Napi::Env env, std::shared_ptr<void> keep, Work work, Finish finish) {
    using Result = decltype(work());
    auto result = std::make_shared<std::optional<Result>>();
    return enqueue(
        env, std::move(keep), [result, work = std::move(work)]() mutable { result->emplace(work()); },
        [result, finish = std::move(finish)](Napi::Env e) -> Napi::Value { return finish(e, **result); });
  }

  // Long work looks at this between steps and ends early when it is set. Cleared by the next clear_stop(),
  // unless the thread is ending.
  const std::atomic<bool>& stop_flag() const { return stop_; }
  void request_stop() { stop_ = true; }
  void clear_stop() {
    if (!ending_) stop_ = false;
  }

  // Stops between steps and joins; what was still waiting is rejected (ERR_DISPOSED). Called when the model is
  // disposed of, and before the environment or the process goes away: there a joinable thread would abort
  // the process, JavaScript can no longer run, and what waits is dropped.
  void end(bool reject_waiting);

  // Ends every thread of the environment, on process.on('exit').
  static void end_all(Napi::Env env);

 private:
  struct Job;
  struct Channel;

  Napi::Promise enqueue(Napi::Env env, std::shared_ptr<void> keep, std::function<void()> work, std::function<Napi::Value(Napi::Env)> settle);
  void run(int threads);
  static void end_with_environment(void* self);

  std::shared_ptr<Channel> channel_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> ending_{false};
  napi_env env_;
  std::thread thread_;
};

// The size of a team is a setting of the process (libtorch's). The first model decides; another may ask
// for the same or for 0 (whatever is in force). Throws CodedError ERR_THREADS_CONFLICT. Give back with release.
int claim_threads(int wanted);
void release_threads();
// The size that a model that asks for none would get now.
int default_threads();

}  // namespace cortorch::node
