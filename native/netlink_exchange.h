#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <linux/netlink.h>

#include "buffer.h"
#include "descriptor.h"
#include "executor.h"

namespace podtap {

/** `NetlinkReply` of lib/native.ts. */
struct NetlinkReply {
  Buffer replies;
  std::uint32_t completed = 0;
  int error = 0;
  const char* syscall = nullptr;
};

/** Whether `batch` is one or more whole messages, each 4-byte aligned: nothing past its end is ever read or sent. */
bool IsBatch(std::span<const std::byte> batch);

/** Requests and their answers on one netlink socket (netlink(7)); runs on an executor thread. */
class NetlinkExchange {
 public:
  NetlinkExchange(OpenFile& socket, StopSignal stop) : socket_(socket), stop_(stop) {}

  /** Runs the messages one after another until one fails. */
  NetlinkReply Run(std::span<std::byte> batch);

  /**
   * Sends the messages as one datagram, as nfnetlink wants its transactions: the kernel has carried it out, and
   * answered, by the time it is sent. `completed` is 0 or all of them: what became of them stands in the replies.
   */
  NetlinkReply RunAtOnce(std::span<std::byte> batch);

 private:
  /** What a datagram means for the request that is being answered. */
  enum class Progress { kMore, kAnswered, kRefused, kBroken };

  struct Request {
    nlmsghdr* header;
    std::uint32_t index;
    bool dump;
    bool endsWithStatus;  // NLMSG_DONE or NLMSG_ERROR will come
  };

  Progress Perform(const Request& request);
  bool Send(nlmsghdr* header);
  Progress Receive(const Request& request);
  Progress Keep(const Request& request, std::size_t length);
  bool KeepAll(std::uint32_t first, std::uint32_t count, std::size_t length);
  Progress AwaitReadable();
  Progress Broken(int error, const char* syscall);
  void Drain();

  OpenFile& socket_;
  StopSignal stop_;
  NetlinkReply reply_;
};

}  // namespace podtap
