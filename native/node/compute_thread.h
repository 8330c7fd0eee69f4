// The one thread that runs a model. OpenMP keeps a team of threads per calling thread, so a model's steps
// never hop between threads; JavaScript gets promises and stays responsive.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "node/errors.h"

namespace cortorch::node {

using StopFlag = std::shared_ptr<std::atomic<bool>>;

class ComputeThread {
 public:
  // `threads` is the size of the team; see ThreadClaim. `enter` runs first on the thread, and `leave` last.
  ComputeThread(Napi::Env env, int threads, std::function<void()> enter, std::function<void()> leave);
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

  // A flag for one long job, which looks at it between steps and ends early when it is set: by stop() with the
  // number that JavaScript gave the job, or because the thread ends. These three are for JavaScript's thread.
  StopFlag begin_stoppable(uint32_t job);
  void stop(uint32_t job);
  void end_stoppable(uint32_t job);

  // Stops between steps and joins; what was still waiting is rejected (ERR_DISPOSED). Called when the model is
  // disposed of, and before the environment or the process goes away: there a joinable thread would abort
  // the process, JavaScript can no longer run, and what waits is dropped.
  void end(bool reject_waiting);

  // Ends every thread of the environment, on process.on('exit').
  static void end_all(Napi::Env env);

 private:
  struct Job;
  struct Channel;

  Napi::Promise enqueue(Napi::Env env, std::shared_ptr<void> keep, std::function<void()> work,
                        std::function<Napi::Value(Napi::Env)> settle);
  void run(int threads, const std::function<void()>& enter, const std::function<void()>& leave);
  void run_jobs(const std::optional<Failure>& failed);
  static void end_with_environment(void* self);

  std::shared_ptr<Channel> channel_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::map<uint32_t, StopFlag> stoppable_;
  bool ending_ = false;  // under the mutex
  napi_env env_;
  std::thread thread_;
};

// The size of a team is a setting of the process (libtorch's). The first model decides; another may ask for the
// same or for 0 (whatever is in force), and gets a CodedError ERR_THREADS_CONFLICT otherwise.
class ThreadClaim {
 public:
  explicit ThreadClaim(int wanted);
  ThreadClaim(const ThreadClaim&) = delete;
  ThreadClaim& operator=(const ThreadClaim&) = delete;
  ~ThreadClaim() { release(); }

  int threads() const { return threads_; }
  // Once; the destructor does it too.
  void release();

 private:
  int threads_;
  bool held_ = true;
};

// The size that a model that asks for none would get now.
int default_threads();

}  // namespace cortorch::node
