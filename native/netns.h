#pragma once

#include <functional>
#include <optional>

#include "descriptor.h"
#include "failure.h"
#include "thread.h"

namespace podtap {

/**
 * Runs `work` inside the network namespace `netns`, on a fresh thread that ends with it: a thread that has changed
 * its namespace is never used for anything else. Blocks; for executor threads.
 */
template <typename T>
Result<T> InNamespace(int netns, const std::function<Result<T>()>& work);

/** 0, or -1 with errno: setns(netns, CLONE_NEWNET), of which the calling thread's own namespace needs no privilege. */
int EnterNamespace(int netns);

template <typename T>
Result<T> InNamespace(int netns, const std::function<Result<T>()>& work) {
  std::optional<Result<T>> result;
  Thread thread;
  const int error = thread.Start([&] {
    if (EnterNamespace(netns) < 0) {
      result = LastError("setns");
    } else {
      result = work();
    }
  });
  if (error != 0) return Failure{error, "pthread_create"};
  thread.Join();
  return std::move(*result);
}

struct Exports;
void DefineNetns(Exports& exports);

}  // namespace podtap
