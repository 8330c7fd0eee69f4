#include "node/compute_thread.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <string>

#include "node/addon.h"

namespace cortorch::node {

struct ComputeThread::Job {
  std::function<void()> work;
  std::function<Napi::Value(Napi::Env)> settle;
  Napi::Promise::Deferred deferred;
  std::shared_ptr<Channel> channel;
  std::optional<Failure> failure;
  std::shared_ptr<void> keep;
};

// The way back to JavaScript. Finished jobs may still be on it when the thread object is gone.
struct ComputeThread::Channel {
  static void call_javascript(Napi::Env env, Napi::Function, std::nullptr_t*, Job* raw) {
    const std::unique_ptr<Job> job(raw);
    if (env == nullptr) return;  // the environment is going away, and with it whoever waited
    try {
      Napi::HandleScope scope(env);
      if (--job->channel->pending == 0) job->channel->function.Unref(env);
      settle(env, *job);
    } catch (const Napi::Error&) {
      // A worker that is being terminated runs no JavaScript any more, not even a rejection.
    }
  }

  static void settle(Napi::Env env, Job& job) {
    try {
      if (job.failure) {
        job.deferred.Reject(to_javascript(env, *job.failure).Value());
      } else {
        job.deferred.Resolve(job.settle(env));
      }
    } catch (const Napi::Error& error) {
      job.deferred.Reject(error.Value());
    } catch (...) {
      job.deferred.Reject(to_javascript(env, current_failure()).Value());
    }
  }

  using Function = Napi::TypedThreadSafeFunction<std::nullptr_t, Job, call_javascript>;
  Function function;
  int pending = 0;  // jobs that somebody waits for; only JavaScript's thread looks at it
};

ComputeThread::ComputeThread(Napi::Env env, int threads, std::function<void()> enter, std::function<void()> leave)
    : channel_(std::make_shared<Channel>()), env_(env) {
  channel_->function = Channel::Function::New(env, "cortorch", 0, 1);
  channel_->function.Unref(env);  // an idle model does not keep the process alive
  try {
    AddonData::of(env).threads.reserve(AddonData::of(env).threads.size() + 1);
    thread_ = std::thread(
        [this, threads, enter = std::move(enter), leave = std::move(leave)] { run(threads, enter, leave); });
  } catch (...) {  // the system has no thread left: nothing may point here
    channel_->function.Release();
    throw;
  }
  AddonData::of(env).threads.push_back(this);
  // Hooks run in reverse order: this one, made after the channel's own, joins the thread before Node closes
  // the channel under it.
  napi_add_env_cleanup_hook(env, end_with_environment, this);
}

StopFlag ComputeThread::begin_stoppable(uint32_t job) {
  return stoppable_[job] = std::make_shared<std::atomic<bool>>(false);
}

void ComputeThread::stop(uint32_t job) {
  if (const auto found = stoppable_.find(job); found != stoppable_.end()) found->second->store(true);
}

void ComputeThread::end_stoppable(uint32_t job) { stoppable_.erase(job); }

ComputeThread::~ComputeThread() { end(false); }

void ComputeThread::end_with_environment(void* self) {
  try {
    static_cast<ComputeThread*>(self)->end(false);
  } catch (...) {  // Node would abort the process, which is ending anyway, and there is nobody left to tell
  }
}

void ComputeThread::end(bool reject_waiting) {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  for (const auto& [job, flag] : stoppable_) flag->store(true);
  wake_.notify_all();
  thread_.join();
  napi_remove_env_cleanup_hook(env_, end_with_environment, this);
  auto& threads = AddonData::of(env_).threads;
  threads.erase(std::remove(threads.begin(), threads.end(), this), threads.end());
  // Letting the last job go may destroy this object, so that comes last.
  const auto waiting = std::move(queue_);
  for (const auto& job : waiting) {
    --channel_->pending;
    if (reject_waiting)
      job->deferred.Reject(
          to_javascript(env_, {"ERR_DISPOSED", "the network was disposed of before this could run"}).Value());
  }
  // Finished jobs that are still on the channel are delivered first; then it closes.
  channel_->function.Release();
}

void ComputeThread::end_all(Napi::Env env) {
  const auto threads = AddonData::of(env).threads;  // a copy: each takes itself off the list
  for (ComputeThread* thread : threads) {
    for (const auto& [job, flag] : thread->stoppable_) flag->store(true);
  }
  for (ComputeThread* thread : threads) thread->end(false);
}

Napi::Promise ComputeThread::enqueue(Napi::Env env, std::shared_ptr<void> keep, std::function<void()> work,
                                     std::function<Napi::Value(Napi::Env)> settle) {
  auto job = std::make_unique<Job>(
      Job{std::move(work), std::move(settle), Napi::Promise::Deferred::New(env), channel_, {}, std::move(keep)});
  const Napi::Promise promise = job->deferred.Promise();
  {
    const std::lock_guard lock(mutex_);
    if (ending_) throw CodedError("ERR_DISPOSED", "the network was disposed of, or the process is ending");
    queue_.push_back(std::move(job));
  }
  if (channel_->pending++ == 0) channel_->function.Ref(env);
  wake_.notify_one();
  return promise;
}

void ComputeThread::run(int threads, const std::function<void()>& enter, const std::function<void()>& leave) {
  at::init_num_threads();
  at::set_num_threads(threads);  // OpenMP's setting is per calling thread, so it is made here
  std::optional<Failure> failed;
  try {
    enter();
  } catch (...) {
    failed = current_failure();
  }
  run_jobs(failed);
  try {
    leave();
  } catch (...) {  // of a GPU that is lost: there is nobody left to tell
  }
}

void ComputeThread::run_jobs(const std::optional<Failure>& failed) {
  for (;;) {
    std::unique_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return ending_ || !queue_.empty(); });
      if (ending_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    try {
      job->failure = failed;
      if (!failed) job->work();
    } catch (...) {
      job->failure = current_failure();
    }
    job->work = nullptr;  // gives up what the work held on this thread
    Job* raw = job.release();
    // It can only fail when the environment is gone, and then the job is left where it is: it may own the
    // model, which must not be destroyed on this thread.
    (void)raw->channel->function.NonBlockingCall(raw);
  }
}

namespace {

std::mutex threads_mutex;
int threads_in_force = 0;
int models = 0;

}  // namespace

int default_threads() {
  const std::lock_guard lock(threads_mutex);
  return models > 0 ? threads_in_force : at::get_num_threads();
}

ThreadClaim::ThreadClaim(int wanted) {
  const std::lock_guard lock(threads_mutex);
  if (models > 0 && wanted != 0 && wanted != threads_in_force) {
    throw CodedError("ERR_THREADS_CONFLICT", "this network asks for " + std::to_string(wanted) +
                                                 " threads, but another one in this process runs on " +
                                                 std::to_string(threads_in_force) +
                                                 ", and the number is a setting of the whole process; ask for the "
                                                 "same, or dispose of the other network first");
  }
  if (models == 0) {
    threads_in_force = wanted != 0 ? wanted : at::get_num_threads();
  }
  ++models;
  threads_ = threads_in_force;
}

void ThreadClaim::release() {
  if (!held_) return;
  held_ = false;
  const std::lock_guard lock(threads_mutex);
  --models;
}

}  // namespace cortorch::node
