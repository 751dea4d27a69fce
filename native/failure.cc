#include "failure.h"

#include <cstring>

#include "values.h"

namespace podtap {
namespace {

std::string Describe(const Failure& failure) {
  // strerror_r of glibc (GNU) returns the text, of musl (POSIX) a status: both leave a usable text to find.
  char buffer[128] = "Unknown error";
  std::string message = failure.syscall;
  if (!failure.path.empty()) message += " '" + failure.path + "'";
  message += ": ";
#ifdef __GLIBC__
  message += strerror_r(failure.error, buffer, sizeof buffer);
#else
  strerror_r(failure.error, buffer, sizeof buffer);
  message += buffer;
#endif
  return message;
}

}  // namespace

napi_value ToError(napi_env env, const Failure& failure) {
  napi_value error = nullptr;
  if (napi_create_error(env, nullptr, MakeText(env, Describe(failure)), &error) != napi_ok) return nullptr;
  napi_set_named_property(env, error, "errno", MakeSigned(env, failure.error));
  napi_set_named_property(env, error, "syscall", MakeText(env, failure.syscall));
  if (!failure.path.empty()) napi_set_named_property(env, error, "path", MakeText(env, failure.path));
  return error;
}

napi_value Throw(napi_env env, const Failure& failure) {
  if (napi_value error = ToError(env, failure); error != nullptr) napi_throw(env, error);
  return nullptr;
}

napi_value Rejected(napi_env env, const Failure& failure) {
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) return nullptr;
  napi_reject_deferred(env, deferred, ToError(env, failure));
  return promise;
}

void ReportPendingException(napi_env env) {
  bool pending = false;
  napi_value exception = nullptr;
  if (napi_is_exception_pending(env, &pending) != napi_ok || !pending) return;
  if (napi_get_and_clear_last_exception(env, &exception) == napi_ok) napi_fatal_exception(env, exception);
}

}  // namespace podtap
