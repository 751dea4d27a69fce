#include "poller.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "environment.h"

namespace podtap {
namespace {

// poll(2) and epoll(7) share their bits on Linux: include/uapi/linux/eventpoll.h.
static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLERR == POLLERR && EPOLLHUP == POLLHUP);

constexpr std::uint64_t kStopKey = ~std::uint64_t{0};
constexpr std::uint32_t kAlways = EPOLLERR | EPOLLHUP;
constexpr std::array<std::uint32_t, 2> kInterest = {EPOLLIN, EPOLLOUT};

Napi::Value WaitFor(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  Poller& poller = EnvironmentOf(info).poller;
  const SharedFile file = FileArgument(info, 0);
  if (!file) return RejectedPromise(info, Failure{EBADF, "epoll_ctl"});
  const bool writable = ReadText(info.Env(), info[1]) == "writable";
  const Direction direction = writable ? Direction::kWritable : Direction::kReadable;
  if (poller.Waiting(*file, direction)) return RejectedPromise(info, Failure{EBUSY, "epoll_ctl"});
  if (const int error = poller.Prepare(); error != 0) return RejectedPromise(info, Failure{error, "epoll_create1"});

  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) return Napi::Value();
  auto wait = std::make_unique<Wait>(deferred);
  EnvironmentOf(info).delivery.Expect();
  if (direction == Direction::kReadable && file->pendingError != 0) {
    // The kernel has forgotten the error already, so it would not wake anybody for it.
    wait->outcome = std::uint32_t{POLLERR};
    EnvironmentOf(info).delivery.Post(std::move(wait));
    return Napi::Value(env, promise);
  }
  poller.Start(file, direction, wait);
  if (wait) EnvironmentOf(info).delivery.Post(std::move(wait));
  return Napi::Value(env, promise);
}

Napi::Value CancelWait(const Napi::CallbackInfo& info) {
  const SharedFile file = FileArgument(info, 0);
  if (file) EnvironmentOf(info).poller.Cancel(*file);
  return info.Env().Undefined();
}

}  // namespace

Result<napi_value> Wait::TakeOutcome(napi_env env) {
  if (!outcome.ok()) return outcome.failure();
  return MakeUnsigned(env, outcome.value());
}

int Poller::Prepare() {
  if (stopped_) return ECANCELED;
  if (thread_.started()) return 0;
  epoll_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return errno;
  stop_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_.valid()) return errno;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kStopKey;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), &event) < 0) return errno;
  return thread_.Start([this] { Loop(); });
}

void Poller::Start(const SharedFile& file, Direction direction, std::unique_ptr<Wait>& wait) {
  const std::lock_guard lock(mutex_);
  const int number = file->number();
  const auto [position, added] = entries_.try_emplace(number);
  Entry& entry = position->second;
  if (added) {
    entry.file = file;
    entry.key = (std::uint64_t{++generation_} << 32) | static_cast<std::uint32_t>(number);
  }
  std::unique_ptr<Wait>& place = entry.waits[static_cast<std::size_t>(direction)];
  place = std::move(wait);
  const int error = Arm(entry, added ? EPOLL_CTL_ADD : EPOLL_CTL_MOD);
  if (error == 0) return;
  // EPERM: a kind of file that epoll does not take, such as a regular one.
  wait = std::move(place);
  wait->outcome = Failure{error, "epoll_ctl"};
  if (added) entries_.erase(position);
}

bool Poller::Waiting(const OpenFile& file, Direction direction) {
  const std::lock_guard lock(mutex_);
  const auto position = entries_.find(file.number());
  return position != entries_.end() && position->second.waits[static_cast<std::size_t>(direction)] != nullptr;
}

void Poller::Cancel(const OpenFile& file) {
  Entry entry;
  {
    const std::lock_guard lock(mutex_);
    const auto position = entries_.find(file.number());
    if (position == entries_.end()) return;
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, file.number(), nullptr);
    entry = std::move(position->second);
    entries_.erase(position);
  }
  for (std::unique_ptr<Wait>& wait : entry.waits) {
    if (wait) delivery_.Post(std::move(wait));
  }
}

void Poller::Stop() {
  if (stop_.valid()) eventfd_write(stop_.get(), 1);
  thread_.Join();
  entries_.clear();
  epoll_.reset();
  stop_.reset();
  stopped_ = true;
}

void Poller::Loop() {
  std::array<epoll_event, 64> events;
  std::vector<std::unique_ptr<Wait>> settled;
  for (;;) {
    const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    if (count < 0 && errno != EINTR) return;
    {
      const std::lock_guard lock(mutex_);
      for (int index = 0; index < count; ++index) {
        const epoll_event& event = events[static_cast<std::size_t>(index)];
        if (event.data.u64 == kStopKey) return;
        Dispatch(event.data.u64, event.events, settled);
      }
    }
    for (std::unique_ptr<Wait>& wait : settled) delivery_.Post(std::move(wait));
    settled.clear();
  }
}

void Poller::Dispatch(std::uint64_t key, std::uint32_t events, std::vector<std::unique_ptr<Wait>>& settled) {
  const auto position = entries_.find(static_cast<int>(static_cast<std::uint32_t>(key)));
  if (position == entries_.end() || position->second.key != key) return;
  Entry& entry = position->second;
  for (std::size_t direction = 0; direction < entry.waits.size(); ++direction) {
    const std::uint32_t seen = events & (kInterest[direction] | kAlways);
    if (seen == 0 || !entry.waits[direction]) continue;
    entry.waits[direction]->outcome = seen;
    settled.push_back(std::move(entry.waits[direction]));
  }
  if (entry.waits[0] || entry.waits[1]) {
    // EPOLLONESHOT has disarmed the other direction, too.
    Arm(entry, EPOLL_CTL_MOD);
    return;
  }
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, entry.file->number(), nullptr);
  entries_.erase(position);
}

int Poller::Arm(const Entry& entry, int operation) {
  epoll_event event{};
  event.events = EPOLLONESHOT;
  for (std::size_t direction = 0; direction < entry.waits.size(); ++direction) {
    if (entry.waits[direction]) event.events |= kInterest[direction];
  }
  event.data.u64 = entry.key;
  return epoll_ctl(epoll_.get(), operation, entry.file->number(), &event) < 0 ? errno : 0;
}

void DefinePoller(Exports& exports) {
  exports.Define<WaitFor>("wait");
  exports.Define<CancelWait>("cancelWait");
}

}  // namespace podtap
