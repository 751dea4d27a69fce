#include "netlink_exchange.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>

namespace podtap {
namespace {

// The kernel fills dump datagrams up to 32 KiB (netlink_recvmsg, "max_recvmsg_len"), but lets one large object, a
// link with 500 alternative names say, have more (min_dump_alloc). 64 KiB stays below malloc's mmap threshold.
constexpr std::size_t kDumpRoom = 64 * 1024;

constexpr std::size_t Align(std::size_t length) { return NLMSG_ALIGN(length); }

nlmsghdr* HeaderAt(std::byte* bytes) { return reinterpret_cast<nlmsghdr*>(bytes); }

/** Of NLMSG_ERROR and NLMSG_DONE: their payload begins with 0 or -errno. An NLMSG_DONE may have none. */
int StatusOf(const nlmsghdr* header) {
  int status = 0;
  if (header->nlmsg_len >= NLMSG_HDRLEN + sizeof status) {
    std::memcpy(&status, reinterpret_cast<const std::byte*>(header) + NLMSG_HDRLEN, sizeof status);
  }
  return status;
}

}  // namespace

bool IsBatch(std::span<const std::byte> batch) {
  if (batch.empty()) return false;
  while (!batch.empty()) {
    nlmsghdr header;
    if (batch.size() < sizeof header) return false;
    std::memcpy(&header, batch.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > batch.size()) return false;
    batch = batch.subspan(std::min(Align(header.nlmsg_len), batch.size()));
  }
  return true;
}

NetlinkReply NetlinkExchange::Run(std::span<std::byte> batch) {
  for (std::uint32_t index = 0; !batch.empty(); ++index) {
    nlmsghdr* const header = HeaderAt(batch.data());
    const std::uint16_t flags = header->nlmsg_flags;
    const bool dump = (flags & NLM_F_DUMP) == NLM_F_DUMP;
    const Progress end = Perform(Request{header, index, dump, dump || (flags & NLM_F_ACK) != 0});
    if (end != Progress::kAnswered) break;
    ++reply_.completed;
    batch = batch.subspan(std::min(Align(header->nlmsg_len), batch.size()));
  }
  return std::move(reply_);
}

NetlinkReply NetlinkExchange::RunAtOnce(std::span<std::byte> batch) {
  std::uint32_t count = 0;
  for (std::span<std::byte> rest = batch; !rest.empty(); ++count) {
    rest = rest.subspan(std::min(Align(HeaderAt(rest.data())->nlmsg_len), rest.size()));
  }
  // So many numbers in a row, without 0 among them.
  if (socket_.sequence + count < socket_.sequence) socket_.sequence = 0;
  const std::uint32_t first = socket_.sequence + 1;
  for (std::span<std::byte> rest = batch; !rest.empty();) {
    nlmsghdr* const header = HeaderAt(rest.data());
    header->nlmsg_seq = ++socket_.sequence;
    header->nlmsg_pid = 0;
    rest = rest.subspan(std::min(Align(header->nlmsg_len), rest.size()));
  }
  // A datagram must fit into the send buffer. Where it may not be enlarged, sendto says EMSGSIZE.
  const int size = static_cast<int>(2 * batch.size());
  if (setsockopt(socket_.number(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0) {
    setsockopt(socket_.number(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  }
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (sendto(socket_.number(), batch.data(), batch.size(), MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&kernel),
             sizeof kernel) < 0) {
    Broken(errno, "sendmsg");
    return std::move(reply_);
  }
  for (;;) {
    const ssize_t next = recv(socket_.number(), nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (next < 0 && errno == EAGAIN) break;
    std::byte* const into = next < 0 ? nullptr : reply_.replies.Reserve(static_cast<std::size_t>(next) + NLMSG_ALIGNTO);
    sockaddr_nl sender{};
    socklen_t senderLength = sizeof sender;
    ssize_t length = -1;
    if (into != nullptr) {
      length = recvfrom(socket_.number(), into, static_cast<std::size_t>(next), MSG_DONTWAIT,
                        reinterpret_cast<sockaddr*>(&sender), &senderLength);
    } else if (next >= 0) {
      errno = ENOMEM;
    }
    if (length < 0) {
      Broken(errno, "recvmsg");
      return std::move(reply_);
    }
    if (sender.nl_pid == 0 && !KeepAll(first, count, static_cast<std::size_t>(length))) return std::move(reply_);
  }
  reply_.completed = count;
  return std::move(reply_);
}

/** Of `length` bytes that were just received, takes in what answers one of `count` messages, numbered from `first`. */
bool NetlinkExchange::KeepAll(std::uint32_t first, std::uint32_t count, std::size_t length) {
  std::byte* const bytes = reply_.replies.Reserve(length + NLMSG_ALIGNTO);
  std::size_t kept = 0;
  for (std::size_t position = 0; position < length;) {
    nlmsghdr* const header = HeaderAt(bytes + position);
    const std::size_t left = length - position;
    if (left < sizeof *header || header->nlmsg_len < sizeof *header || header->nlmsg_len > left) {
      Broken(EBADMSG, "recvmsg");
      return false;
    }
    const std::size_t size = header->nlmsg_len;
    if (header->nlmsg_seq - first < count) {
      header->nlmsg_seq -= first;
      if (kept != position) std::memmove(bytes + kept, bytes + position, size);
      std::memset(bytes + kept + size, 0, Align(size) - size);
      kept += Align(size);
    }
    position += Align(size);
  }
  reply_.replies.Commit(kept);
  return true;
}

NetlinkExchange::Progress NetlinkExchange::Perform(const Request& request) {
  // 0 is what the kernel's own notifications carry.
  if (++socket_.sequence == 0) ++socket_.sequence;
  request.header->nlmsg_seq = socket_.sequence;
  request.header->nlmsg_pid = 0;
  if (!Send(request.header)) return Broken(errno, "sendmsg");
  for (;;) {
    const Progress progress = Receive(request);
    if (progress != Progress::kMore) return progress;
  }
}

bool NetlinkExchange::Send(nlmsghdr* header) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  return sendto(socket_.number(), header, header->nlmsg_len, MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&kernel),
                sizeof kernel) >= 0;
}

NetlinkExchange::Progress NetlinkExchange::Receive(const Request& request) {
  const int socket = socket_.number();
  const ssize_t next = recv(socket, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
  if (next < 0 && errno == EAGAIN) {
    // The kernel has run the request by the time sendmsg returns: what promised no status has no further answer.
    return request.endsWithStatus ? AwaitReadable() : Progress::kAnswered;
  }
  if (next < 0) return Broken(errno, "recvmsg");
  std::size_t room = static_cast<std::size_t>(next);
  // The kernel makes the next part of a dump as large as the room it was once given.
  if (request.dump) room = std::max(room, kDumpRoom);

  std::byte* const into = reply_.replies.Reserve(room + NLMSG_ALIGNTO);
  if (into == nullptr) return Broken(ENOMEM, "recvmsg");
  sockaddr_nl sender{};
  iovec part{into, room};
  msghdr message{};
  message.msg_name = &sender;
  message.msg_namelen = sizeof sender;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t length = recvmsg(socket, &message, MSG_DONTWAIT);
  if (length < 0 && errno == EAGAIN) return AwaitReadable();
  if (length < 0) return Broken(errno, "recvmsg");
  if (sender.nl_pid != 0) return Progress::kMore;  // netlink(7): only the kernel is 0; anybody may send to us
  if ((message.msg_flags & MSG_TRUNC) != 0) return Broken(EMSGSIZE, "recvmsg");
  return Keep(request, static_cast<std::size_t>(length));
}

/** Closes up what belongs to the request among `length` bytes that were just received, and takes it in. */
NetlinkExchange::Progress NetlinkExchange::Keep(const Request& request, std::size_t length) {
  std::byte* const bytes = reply_.replies.Reserve(length + NLMSG_ALIGNTO);
  Progress progress = Progress::kMore;
  std::size_t kept = 0;
  std::size_t position = 0;
  while (position < length) {
    nlmsghdr* header = HeaderAt(bytes + position);
    const std::size_t left = length - position;
    if (left < sizeof *header || header->nlmsg_len < sizeof *header || header->nlmsg_len > left) {
      return Broken(EBADMSG, "recvmsg");
    }
    const std::size_t size = header->nlmsg_len;
    const std::size_t aligned = Align(size);
    if (header->nlmsg_seq == socket_.sequence && progress == Progress::kMore) {
      if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) {
        progress = StatusOf(header) < 0 ? Progress::kRefused : Progress::kAnswered;
      } else if (!request.endsWithStatus && (header->nlmsg_flags & NLM_F_MULTI) == 0) {
        progress = Progress::kAnswered;
      }
      header->nlmsg_seq = request.index;
      if (kept != position) std::memmove(bytes + kept, bytes + position, size);
      std::memset(bytes + kept + size, 0, aligned - size);
      kept += aligned;
    }
    position += aligned;
  }
  reply_.replies.Commit(kept);
  return progress;
}

NetlinkExchange::Progress NetlinkExchange::AwaitReadable() {
  pollfd waits[] = {{socket_.number(), POLLIN, 0}, {stop_.descriptor, POLLIN, 0}};
  if (poll(waits, 2, -1) < 0 && errno != EINTR) return Broken(errno, "poll");
  if (waits[1].revents != 0) return Broken(ECANCELED, "poll");
  return Progress::kMore;
}

NetlinkExchange::Progress NetlinkExchange::Broken(int error, const char* syscall) {
  reply_.error = error;
  reply_.syscall = syscall;
  Drain();
  return Progress::kBroken;
}

/** Reads a dump under way to its end: the kernel answers EBUSY to the next one otherwise. */
void NetlinkExchange::Drain() {
  for (;;) {
    if (recv(socket_.number(), nullptr, 0, MSG_TRUNC | MSG_DONTWAIT) >= 0) continue;
    if (errno != ENOBUFS && errno != EINTR) return;
  }
}

}  // namespace podtap
