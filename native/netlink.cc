#include "netlink.h"

#include <cstring>
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
  int protocol;
  std::vector<std::uint32_t> groups;
  std::optional<int> bufferSize;
};

// What the kernel puts into one datagram of notifications at most, unless one object is larger.
constexpr std::size_t kLargestNotification = 32 * 1024;

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

ssize_t ReceiveFromKernel(int descriptor, std::byte* into, std::size_t room) {
  for (;;) {
    sockaddr_nl sender{};
    iovec part{into, room};
    msghdr message{};
    message.msg_name = &sender;
    message.msg_namelen = sizeof sender;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const ssize_t length = recvmsg(descriptor, &message, MSG_DONTWAIT);
    if (length < 0) return -errno;
    if (sender.nl_pid != 0) continue;
    return (message.msg_flags & MSG_TRUNC) != 0 ? -EMSGSIZE : length;
  }
}

napi_value ReadNetlink(napi_env env, napi_callback_info info) {
  return ReadDatagrams(env, info, kLargestNotification, ReceiveFromKernel);
}

NetlinkSpec ParseSpec(const Napi::CallbackInfo& info) {
  NetlinkSpec spec{info[1].As<Napi::Number>().Int32Value(), {}, std::nullopt};
  if (!info[2].IsObject()) return spec;
  const Napi::Object options = info[2].As<Napi::Object>();
  if (const Napi::Value groups = options.Get("groups"); groups.IsArray()) {
    const Napi::Array list = groups.As<Napi::Array>();
    for (std::uint32_t index = 0; index < list.Length(); ++index) {
      spec.groups.push_back(list.Get(index).As<Napi::Number>().Uint32Value());
    }
  }
  if (const Napi::Value size = options.Get("bufferSize"); size.IsNumber()) {
    spec.bufferSize = size.As<Napi::Number>().Int32Value();
  }
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

Napi::Value NetlinkRequest(const Napi::CallbackInfo& info) {
  const SharedFile socket = FileArgument(info, 0);
  if (!socket) return RejectedPromise(info, Failure{EBADF, "sendmsg"});
  if (!info[1].IsTypedArray()) return RejectedPromise(info, Failure{EINVAL, "sendmsg"});
  const Napi::Uint8Array messages = info[1].As<Napi::Uint8Array>();
  const auto* const begin = reinterpret_cast<const std::byte*>(messages.Data());
  std::vector<std::byte> batch(begin, begin + messages.ByteLength());
  if (!IsBatch(batch)) return RejectedPromise(info, Failure{EINVAL, "sendmsg"});
  return RunAsync<NetlinkReply>(
      info,
      [socket, batch = std::move(batch)](StopSignal stop) mutable -> Result<NetlinkReply> {
        return NetlinkExchange(*socket, stop).Run(batch);
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
  // A copy: runtimes with a memory cage (Electron) refuse external array buffers.
  void* data = nullptr;
  napi_value replies = nullptr;
  if (napi_create_arraybuffer(env, reply.replies.size(), &data, &replies) != napi_ok) return nullptr;
  if (reply.replies.size() > 0) std::memcpy(data, reply.replies.data(), reply.replies.size());
  Napi::Object result = Napi::Object::New(env);
  result.Set("replies", replies);
  result.Set("completed", reply.completed);
  result.Set("errno", reply.error);
  result.Set("syscall", reply.syscall == nullptr ? Napi::Env(env).Undefined() : Napi::String::New(env, reply.syscall));
  return result;
}

void DefineNetlink(Exports& exports) {
  exports.Define<NetlinkOpen>("netlinkOpen");
  exports.Define<NetlinkRequest>("netlinkRequest");
  exports.Define("readNetlink", ReadNetlink);
}

}  // namespace podtap
