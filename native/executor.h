#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <list>
#include <memory>
#include <mutex>

#include "delivery.h"
#include "thread.h"
#include "unique_fd.h"

namespace podtap {

/** Readable once the environment ends: work that waits for the kernel polls it too, so that nothing hangs on exit. */
struct StopSignal {
  int descriptor;
};

class Strand;

/** Work for an executor thread. */
class Task : public Completion {
 public:
  using Completion::Completion;

  /** On an executor thread, which never changes namespace. */
  virtual void Run(StopSignal stop) = 0;

  /** The queue it has to keep to, or null. It must live as long as the task. */
  virtual Strand* strand() = 0;
};

/** Tasks that run one at a time, in the order of their submission, without a thread that waits for their turn. */
class Strand {
 private:
  friend class Executor;  // which guards both members by its mutex
  std::list<std::unique_ptr<Task>> waiting_;
  bool busy_ = false;
};

/**
 * A few threads for system calls that may block, one pool for each environment. Not the runtime's own pool: that
 * one is shared with file access and DNS, and its symbols are missing outside of Node.
 */
class Executor {
 public:
  explicit Executor(Delivery& delivery) : delivery_(delivery) {}

  /** JavaScript thread: starts a thread where one is needed. 0, or the errno that left the pool without any. */
  [[nodiscard]] int Prepare();

  /** JavaScript thread, after Prepare. */
  void Submit(std::unique_ptr<Task> task);

  /** JavaScript thread: waits for what is running, drops what is not. */
  void Stop();

 private:
  // Requests serialize on the kernel's RTNL lock: more threads would only wait there.
  static constexpr std::size_t kMostThreads = 4;

  void Loop();
  void Advance(Strand* strand);

  Delivery& delivery_;
  UniqueFd stop_;
  std::array<Thread, kMostThreads> threads_;
  std::size_t started_ = 0;  // JavaScript thread only
  bool stopped_ = false;     // JavaScript thread only

  std::mutex mutex_;
  std::condition_variable available_;
  std::deque<std::unique_ptr<Task>> ready_;
  std::size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace podtap
