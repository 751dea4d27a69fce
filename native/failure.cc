#include "failure.h"

#include <cstring>

namespace podtap {
namespace {

napi_value ToValue(napi_env env, const std::string& text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &value);
  return value;
}

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
  napi_value number = nullptr;
  if (napi_create_error(env, nullptr, ToValue(env, Describe(failure)), &error) != napi_ok) return nullptr;
  napi_create_int32(env, failure.error, &number);
  napi_set_named_property(env, error, "errno", number);
  napi_set_named_property(env, error, "syscall", ToValue(env, failure.syscall));
  if (!failure.path.empty()) napi_set_named_property(env, error, "path", ToValue(env, failure.path));
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
