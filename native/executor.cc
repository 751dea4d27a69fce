#include "executor.h"

#include <utility>

#include <sys/eventfd.h>

namespace podtap {

int Executor::Prepare() {
  if (stopped_) return ECANCELED;
  if (!stop_.valid()) {
    stop_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!stop_.valid()) return errno;
  }
  {
    const std::lock_guard lock(mutex_);
    const bool enough = idle_ > ready_.size();
    if (enough || started_ == kMostThreads) return 0;
  }
  const int error = threads_[started_].Start([this] { Loop(); });
  if (error == 0) ++started_;
  return started_ > 0 ? 0 : error;
}

void Executor::Submit(std::unique_ptr<Task> task) {
  Strand* const strand = task->strand();
  {
    const std::lock_guard lock(mutex_);
    if (strand != nullptr) {
      if (strand->busy_) {
        strand->waiting_.push_back(std::move(task));
        return;
      }
      strand->busy_ = true;
    }
    ready_.push_back(std::move(task));
  }
  available_.notify_one();
}

void Executor::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  if (stop_.valid()) eventfd_write(stop_.get(), 1);
  available_.notify_all();
  for (Thread& thread : threads_) thread.Join();
  // Advance, so that tasks that wait in a strand (and hold the descriptor it belongs to) are dropped as well.
  while (!ready_.empty()) {
    const std::unique_ptr<Task> task = std::move(ready_.front());
    ready_.pop_front();
    Advance(task->strand());
  }
  stop_.reset();
  stopped_ = true;
}

void Executor::Loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    while (!stopping_ && ready_.empty()) {
      // condition_variable::wait is a symbol of GCC 12 (GLIBCXX_3.4.30), which RHEL 9 does not have.
      pthread_cond_wait(available_.native_handle(), mutex_.native_handle());
    }
    --idle_;
    if (stopping_) return;
    std::unique_ptr<Task> task = std::move(ready_.front());
    ready_.pop_front();
    lock.unlock();
    task->Run(StopSignal{stop_.get()});
    lock.lock();
    // Before the task is posted: the strand may go with it.
    Advance(task->strand());
    lock.unlock();
    delivery_.Post(std::move(task));
    lock.lock();
  }
}

void Executor::Advance(Strand* strand) {
  if (strand == nullptr) return;
  if (strand->waiting_.empty()) {
    strand->busy_ = false;
    return;
  }
  ready_.push_back(std::move(strand->waiting_.front()));
  strand->waiting_.pop_front();
}

}  // namespace podtap
