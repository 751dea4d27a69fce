#include "netlink.h"

#include <vector>

#include <sys/socket.h>

#include "datagrams.h"
#include "environment.h"
#include "netlink_exchange.h"
#include "netns.h"
#include "socket.h"

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

namespace podtap {
namespace {

struct NetlinkSpec {
  int protocol = 0;
  std::vector<std::uint32_t> groups;
  std::optional<std::uint32_t> bufferSize;
};

// One object: several attributes, of which one may have the 64 KiB that its length field allows (IFLA_PROP_LIST).
constexpr std::size_t kLargestNotification = 96 * 1024;

Result<UniqueFd> OpenListening(const NetlinkSpec& spec) {
  Result<UniqueFd> socket = OpenNetlink(spec.protocol);
  if (!socket.ok()) return socket;
  const int number = socket.value().get();
  if (spec.bufferSize) {
    Result<Done> set = SetReceiveBuffer(number, *spec.bufferSize);
    if (!set.ok()) return std::move(set.failure());
  }
  for (const std::uint32_t group : spec.groups) {
    // Not by bind(2): nl_groups has 32 bits, and there are more groups.
    Result<Done> joined = SetOption(number, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, static_cast<int>(group),
                                    "setsockopt(NETLINK_ADD_MEMBERSHIP)");
    if (!joined.ok()) return std::move(joined.failure());
  }
  return socket;
}

ssize_t ReceiveFromKernel(OpenFile& file, std::byte* into, std::size_t room) {
  for (;;) {
    sockaddr_nl sender{};
    iovec part{into, room};
    msghdr message{};
    message.msg_name = &sender;
    message.msg_namelen = sizeof sender;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const ssize_t length = recvmsg(file.number(), &message, MSG_DONTWAIT);
    if (length < 0) return -errno;
    if (sender.nl_pid != 0) continue;
    return (message.msg_flags & MSG_TRUNC) != 0 ? -EMSGSIZE : length;
  }
}

napi_value ReadNetlink(napi_env env, napi_callback_info info) {
  return ReadDatagrams(env, info, kLargestNotification, ReceiveFromKernel);
}

NetlinkSpec ParseSpec(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  NetlinkSpec spec;
  spec.protocol = ReadSigned(env, info[1]);
  spec.bufferSize = OptionalUnsigned(env, info[2], "bufferSize");
  spec.groups = ReadNumbers(env, Property(env, info[2], "groups"));
  return spec;
}

Napi::Value NetlinkOpen(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  const NetlinkSpec spec = ParseSpec(info);
  return RunAsync<UniqueFd>(info, [netns, spec](StopSignal) {
    return InNamespace<UniqueFd>(netns->number(), [&] { return OpenListening(spec); });
  });
}

template <NetlinkReply (NetlinkExchange::*Way)(std::span<std::byte>)>
Napi::Value Exchange(const Napi::CallbackInfo& info) {
  const SharedFile socket = FileArgument(info, 0);
  if (!socket) return RejectedPromise(info, Failure{EBADF, "sendmsg"});
  const std::span<const std::byte> messages = ReadBytes(info.Env(), info[1]);
  std::vector<std::byte> batch(messages.begin(), messages.end());
  if (!IsBatch(batch)) return RejectedPromise(info, Failure{EINVAL, "sendmsg"});
  return RunAsync<NetlinkReply>(
      info,
      [socket, batch = std::move(batch)](StopSignal stop) mutable -> Result<NetlinkReply> {
        return (NetlinkExchange(*socket, stop).*Way)(batch);
      },
      socket);
}

}  // namespace

Result<UniqueFd> OpenNetlink(int protocol) {
  UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!socket.valid()) return LastError("socket");
  struct Option {
    int number;
    const char* syscall;
  };
  constexpr Option kOptions[] = {
      {NETLINK_EXT_ACK, "setsockopt(NETLINK_EXT_ACK)"},
      {NETLINK_CAP_ACK, "setsockopt(NETLINK_CAP_ACK)"},
      {NETLINK_GET_STRICT_CHK, "setsockopt(NETLINK_GET_STRICT_CHK)"},
  };
  for (const Option& option : kOptions) {
    Result<Done> set = SetOption(socket.get(), SOL_NETLINK, option.number, 1, option.syscall);
    if (!set.ok()) return std::move(set.failure());
  }
  sockaddr_nl own{};
  own.nl_family = AF_NETLINK;
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) < 0) return LastError("bind");
  return socket;
}

napi_value ToValue(Environment&, napi_env env, NetlinkReply reply) {
  return ObjectMaker(env)
      .Set("replies", MakeBytes(env, reply.replies))
      .Set("completed", MakeUnsigned(env, reply.completed))
      .Set("errno", MakeSigned(env, reply.error))
      .Set("syscall", reply.syscall == nullptr ? MakeUndefined(env) : MakeText(env, reply.syscall))
      .Finish();
}

void DefineNetlink(Exports& exports) {
  exports.Define<NetlinkOpen>("netlinkOpen");
  exports.Define<Exchange<&NetlinkExchange::Run>>("netlinkRequest");
  exports.Define<Exchange<&NetlinkExchange::RunAtOnce>>("netlinkBatch");
  exports.Define("readNetlink", ReadNetlink);
}

}  // namespace podtap
