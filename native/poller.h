#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "delivery.h"
#include "descriptor.h"
#include "thread.h"
#include "unique_fd.h"

namespace podtap {

enum class Direction : std::size_t { kReadable, kWritable };

/** A promise for the readiness of a descriptor. */
class Wait final : public Completion {
 public:
  using Completion::Completion;
  Result<napi_value> TakeOutcome(napi_env env) override;

  Result<std::uint32_t> outcome{Failure{ECANCELED, "epoll_wait"}};
};

/**
 * One thread that waits for all the descriptors of an environment (epoll(7)). A descriptor is in the epoll set only
 * while somebody waits for it: nothing of it is left behind when it closes, even where duplicates live on.
 */
class Poller {
 public:
  explicit Poller(Delivery& delivery) : delivery_(delivery) {}

  /** JavaScript thread: starts the thread at the first call. 0 or an errno. */
  [[nodiscard]] int Prepare();

  /** JavaScript thread, after Prepare. Takes `wait`, unless epoll refuses the file: then it stays, with its outcome. */
  void Start(const SharedFile& file, Direction direction, std::unique_ptr<Wait>& wait);

  /** JavaScript thread: whether somebody waits for this already. */
  bool Waiting(const OpenFile& file, Direction direction);

  /** JavaScript thread: ECANCELED for every wait on the file. */
  void Cancel(const OpenFile& file);

  /** JavaScript thread: ends the thread, drops all waits. */
  void Stop();

 private:
  struct Entry {
    SharedFile file;
    std::uint64_t key;  // in epoll_event: tells an event from one that an earlier owner of the number left behind
    std::array<std::unique_ptr<Wait>, 2> waits;
  };

  void Loop();
  void Dispatch(std::uint64_t key, std::uint32_t events, std::vector<std::unique_ptr<Wait>>& settled);
  int Arm(const Entry& entry, int operation);

  Delivery& delivery_;
  UniqueFd epoll_;
  UniqueFd stop_;
  Thread thread_;
  bool stopped_ = false;  // JavaScript thread only

  std::mutex mutex_;
  std::unordered_map<int, Entry> entries_;  // by descriptor number
  std::uint32_t generation_ = 0;
};

struct Exports;
void DefinePoller(Exports& exports);

}  // namespace podtap
