#pragma once

#include <cerrno>
#include <string>
#include <utility>
#include <variant>

#include <node_api.h>

namespace podtap {

/** A system call that failed: what JavaScript sees as `SystemFailure` (lib/native.ts). */
struct Failure {
  int error;
  const char* syscall;  // a literal: "setns", "ioctl(TUNSETIFF)"
  std::string path = {};
};

/** To be called before anything else can change errno. */
inline Failure LastError(const char* syscall, std::string path = {}) {
  return Failure{errno, syscall, std::move(path)};
}

/** The value of a step that has none. */
struct Done {};

/** A value, or the system call that failed on the way to it. (std::expected is C++23.) */
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : content_(std::move(value)) {}
  Result(Failure failure) : content_(std::move(failure)) {}

  bool ok() const { return std::holds_alternative<T>(content_); }
  T& value() { return *std::get_if<T>(&content_); }
  Failure& failure() { return *std::get_if<Failure>(&content_); }

 private:
  std::variant<T, Failure> content_;
};

/** An Error with `errno`, `syscall` and, where there is one, `path`. */
napi_value ToError(napi_env env, const Failure& failure);

/** Makes it the pending exception; returns null, so that callbacks can `return Throw(...)`. */
napi_value Throw(napi_env env, const Failure& failure);

/** A promise that is rejected already. */
napi_value Rejected(napi_env env, const Failure& failure);

/** Hands a pending exception, if any, to the runtime as an uncaught one. */
void ReportPendingException(napi_env env);

}  // namespace podtap
