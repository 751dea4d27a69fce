#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include <node_api.h>

#include "failure.h"

namespace podtap {

/** Work whose result belongs to a promise. What it holds is freed with it, delivered or not. */
class Completion {
 public:
  explicit Completion(napi_deferred deferred) : deferred_(deferred) {}
  virtual ~Completion() = default;
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  /** On the JavaScript thread, once. A null value stands for a pending exception. */
  virtual Result<napi_value> TakeOutcome(napi_env env) = 0;

 private:
  friend class Delivery;
  napi_deferred deferred_;
};

/**
 * Carries finished work from any thread to the JavaScript thread of one environment, where it settles promises.
 *
 * The queue is ours, the threadsafe function only rings: so what was not delivered when an environment ends is
 * freed here, in whatever runtime, and many completions cost one ring. Raw napi_threadsafe_function, because
 * Napi::ThreadSafeFunction with a C++ callback aborts the process when a worker is terminated.
 */
class Delivery {
 public:
  napi_status Open(napi_env env);

  /** JavaScript thread: one more completion will be posted. Until it is settled the event loop stays alive. */
  void Expect();

  /** Any thread. */
  void Post(std::unique_ptr<Completion> completion);

  /** JavaScript thread, as the environment ends and after every posting thread was joined. */
  void Close();

 private:
  static void OnRing(napi_env env, napi_value callback, void* context, void* data);
  void SettleAll();
  void Settle(Completion& completion);

  napi_env env_ = nullptr;
  napi_threadsafe_function bell_ = nullptr;
  std::size_t expected_ = 0;  // JavaScript thread only

  std::mutex mutex_;
  std::vector<std::unique_ptr<Completion>> finished_;
  bool closed_ = false;
};

}  // namespace podtap
