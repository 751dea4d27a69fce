#pragma once

#include <functional>
#include <memory>
#include <utility>

#include <napi.h>

#include "delivery.h"
#include "descriptor.h"
#include "executor.h"
#include "failure.h"
#include "poller.h"
#include "values.h"

namespace podtap {

/** All state there is: one for each JavaScript environment, the main thread's and every worker's. */
struct Environment {
  std::shared_ptr<DescriptorSet> descriptors = std::make_shared<DescriptorSet>();
  Delivery delivery;
  Executor executor{delivery};
  Poller poller{delivery};

  /** Creates the state of `env` and has it stopped when `env` ends. Null with a pending exception on failure. */
  static Environment* Create(napi_env env);

  /** Joins all threads, then drops what they left undelivered, then closes every descriptor. */
  void Stop();
};

/** The addon's functions as they are defined: each gets its Environment as its data pointer. */
struct Exports {
  napi_env env;
  napi_value object;
  Environment* environment;

  void Define(const char* name, napi_callback callback);

  template <Napi::Value (*Function)(const Napi::CallbackInfo&)>
  void Define(const char* name) {
    Napi::Object(env, object).Set(name, Napi::Function::New<Function>(env, name, environment));
  }
};

inline Environment& EnvironmentOf(const Napi::CallbackInfo& info) { return *static_cast<Environment*>(info.Data()); }

inline SharedFile FileArgument(const Napi::CallbackInfo& info, std::size_t index) {
  return ToFile(info.Env(), info[index]);
}

inline Napi::Value RejectedPromise(const Napi::CallbackInfo& info, const Failure& failure) {
  return Napi::Value(info.Env(), Rejected(info.Env(), failure));
}

// How results of work become values. Those of one room stand there.
napi_value ToValue(Environment& environment, napi_env env, Done result);
napi_value ToValue(Environment& environment, napi_env env, std::uint32_t result);
napi_value ToValue(Environment& environment, napi_env env, std::string result);
napi_value ToValue(Environment& environment, napi_env env, UniqueFd result);

template <typename T>
class WorkTask final : public Task {
 public:
  using Work = std::function<Result<T>(StopSignal)>;

  WorkTask(napi_deferred deferred, Environment& environment, SharedFile inOrderOf, Work work)
      : Task(deferred), environment_(environment), file_(std::move(inOrderOf)), work_(std::move(work)) {}

  void Run(StopSignal stop) override { result_ = work_(stop); }
  Strand* strand() override { return file_ ? &file_->strand : nullptr; }

  Result<napi_value> TakeOutcome(napi_env env) override {
    if (!result_.ok()) return std::move(result_.failure());
    return ToValue(environment_, env, std::move(result_.value()));
  }

 private:
  Environment& environment_;
  SharedFile file_;
  Work work_;
  Result<T> result_{Failure{ECANCELED, "podtap"}};
};

/**
 * Runs `work` on an executor thread; the promise it returns settles with its result. With `inOrderOf`, after all
 * earlier work that named the same file.
 */
template <typename T>
Napi::Value RunAsync(const Napi::CallbackInfo& info, typename WorkTask<T>::Work work, SharedFile inOrderOf = nullptr) {
  Environment& environment = EnvironmentOf(info);
  const napi_env env = info.Env();
  if (const int error = environment.executor.Prepare(); error != 0) {
    return RejectedPromise(info, Failure{error, "pthread_create"});
  }
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) return Napi::Value();
  environment.delivery.Expect();
  environment.executor.Submit(
      std::make_unique<WorkTask<T>>(deferred, environment, std::move(inOrderOf), std::move(work)));
  return Napi::Value(env, promise);
}

}  // namespace podtap
