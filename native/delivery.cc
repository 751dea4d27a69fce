#include "delivery.h"

#include <utility>

namespace podtap {

napi_status Delivery::Open(napi_env env) {
  env_ = env;
  napi_value name = nullptr;
  napi_status status = napi_create_string_utf8(env, "podtap", NAPI_AUTO_LENGTH, &name);
  if (status != napi_ok) return status;
  status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, OnRing, &bell_);
  if (status != napi_ok) return status;
  // An idle library keeps no process alive.
  return napi_unref_threadsafe_function(env, bell_);
}

void Delivery::Expect() {
  if (expected_++ == 0) napi_ref_threadsafe_function(env_, bell_);
}

void Delivery::Post(std::unique_ptr<Completion> completion) {
  {
    const std::lock_guard lock(mutex_);
    const bool rung = !finished_.empty();
    finished_.push_back(std::move(completion));
    if (rung || closed_) return;
  }
  if (napi_call_threadsafe_function(bell_, nullptr, napi_tsfn_nonblocking) != napi_ok) {
    // napi_closing: the function may be freed from now on, so nobody touches it again, not even to release it.
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
}

void Delivery::Close() {
  std::vector<std::unique_ptr<Completion>> undelivered;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    undelivered.swap(finished_);
  }
  // Every thread was joined, so this share is the last one. Deno keeps a failed worker's event loop for a function
  // that nobody releases.
  napi_release_threadsafe_function(bell_, napi_tsfn_abort);
}

void Delivery::OnRing(napi_env env, napi_value, void* context, void*) {
  // Null while the environment is torn down; `context` may be gone by then.
  if (env == nullptr) return;
  static_cast<Delivery*>(context)->SettleAll();
}

void Delivery::SettleAll() {
  std::vector<std::unique_ptr<Completion>> finished;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    finished.swap(finished_);
  }
  for (std::unique_ptr<Completion>& completion : finished) {
    napi_handle_scope scope = nullptr;
    if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
    Settle(*completion);
    completion.reset();
    ReportPendingException(env_);
    napi_close_handle_scope(env_, scope);
  }
  expected_ -= finished.size();
  if (expected_ == 0 && !finished.empty()) napi_unref_threadsafe_function(env_, bell_);
}

void Delivery::Settle(Completion& completion) {
  Result<napi_value> outcome = completion.TakeOutcome(env_);
  if (!outcome.ok()) {
    napi_reject_deferred(env_, completion.deferred_, ToError(env_, outcome.failure()));
    return;
  }
  napi_value value = outcome.value();
  if (value != nullptr) {
    napi_resolve_deferred(env_, completion.deferred_, value);
    return;
  }
  // The result could not be built: a reply too large for an ArrayBuffer, say.
  bool pending = false;
  if (napi_is_exception_pending(env_, &pending) == napi_ok && pending &&
      napi_get_and_clear_last_exception(env_, &value) == napi_ok) {
    napi_reject_deferred(env_, completion.deferred_, value);
  } else {
    napi_reject_deferred(env_, completion.deferred_, ToError(env_, Failure{ENOMEM, "napi_create_value"}));
  }
}

}  // namespace podtap
