#pragma once

#include <functional>

#include <pthread.h>

namespace podtap {

/**
 * A thread that is joined before its owner goes. std::thread would end the process where the kernel refuses one
 * (RLIMIT_NPROC, the pids cgroup), since it reports that by an exception; this one returns the errno.
 */
class Thread {
 public:
  Thread() = default;
  ~Thread() { Join(); }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  /** 0 or an errno. Every signal is blocked in the new thread: handlers belong to the runtime's own threads. */
  [[nodiscard]] int Start(std::function<void()> body);
  void Join();
  bool started() const { return started_; }

 private:
  pthread_t thread_{};
  bool started_ = false;
};

}  // namespace podtap
