#include "socket.h"

#include <cstdint>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "environment.h"
#include "netns.h"

namespace podtap {
namespace {

enum class Kind { kTcpListen, kTcpConnect, kUdp, kIcmp };

struct SocketSpec {
  int family;
  Kind kind;
  std::string address;
  std::uint16_t port;
  std::uint32_t scopeId;
};

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Result<Address> ParseAddress(const SocketSpec& spec) {
  Address address;
  void* bytes = nullptr;
  if (spec.family == AF_INET) {
    auto* in = reinterpret_cast<sockaddr_in*>(&address.storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(spec.port);
    bytes = &in->sin_addr;
    address.length = sizeof *in;
  } else {
    auto* in = reinterpret_cast<sockaddr_in6*>(&address.storage);
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(spec.port);
    in->sin6_scope_id = spec.scopeId;
    bytes = &in->sin6_addr;
    address.length = sizeof *in;
  }
  if (inet_pton(spec.family, spec.address.c_str(), bytes) != 1) return Failure{EINVAL, "inet_pton"};
  return address;
}

Result<UniqueFd> NewSocket(const SocketSpec& spec) {
  int type = SOCK_STREAM;
  int protocol = 0;
  if (spec.kind == Kind::kUdp) type = SOCK_DGRAM;
  if (spec.kind == Kind::kIcmp) {
    type = SOCK_RAW;
    protocol = spec.family == AF_INET ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6};
  }
  UniqueFd socket(::socket(spec.family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  if (!socket.valid()) return LastError("socket");
  return socket;
}

Result<Done> Bind(int socket, const SocketSpec& spec, const Address& address) {
  if (spec.kind == Kind::kTcpListen) {
    Result<Done> set = SetOption(socket, SOL_SOCKET, SO_REUSEADDR, 1, "setsockopt(SO_REUSEADDR)");
    if (!set.ok()) return set;
  }
  // So that :: and 0.0.0.0 can be bound side by side.
  if (spec.family == AF_INET6) {
    Result<Done> set = SetOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, 1, "setsockopt(IPV6_V6ONLY)");
    if (!set.ok()) return set;
  }
  if (bind(socket, address.get(), address.length) < 0) return LastError("bind");
  if (spec.kind == Kind::kTcpListen && listen(socket, 511) < 0) return LastError("listen");
  return Done{};
}

Result<UniqueFd> Open(const SocketSpec& spec) {
  Result<Address> address = ParseAddress(spec);
  if (!address.ok()) return std::move(address.failure());
  Result<UniqueFd> socket = NewSocket(spec);
  if (!socket.ok()) return socket;
  const int number = socket.value().get();
  if (spec.kind == Kind::kTcpListen || spec.kind == Kind::kUdp) {
    Result<Done> bound = Bind(number, spec, address.value());
    if (!bound.ok()) return std::move(bound.failure());
  } else if (connect(number, address.value().get(), address.value().length) < 0 && errno != EINPROGRESS) {
    return LastError("connect");
  }
  return socket;
}

SocketSpec ParseSpec(napi_env env, napi_value object) {
  const std::string type = ReadText(env, Property(env, object, "type"));
  SocketSpec spec{};
  spec.family = ReadUnsigned(env, Property(env, object, "family")) == 4 ? AF_INET : AF_INET6;
  if (type == "tcp-listen") {
    spec.kind = Kind::kTcpListen;
  } else if (type == "tcp-connect") {
    spec.kind = Kind::kTcpConnect;
  } else if (type == "udp") {
    spec.kind = Kind::kUdp;
  } else {
    spec.kind = Kind::kIcmp;
  }
  spec.address = ReadText(env, Property(env, object, "address"));
  // raw(7): the port of a raw socket's address is a protocol; 0 leaves it alone.
  const std::uint32_t port = ReadUnsigned(env, Property(env, object, "port"));
  spec.port = spec.kind == Kind::kIcmp ? std::uint16_t{0} : static_cast<std::uint16_t>(port);
  spec.scopeId = OptionalUnsigned(env, object, "scopeId").value_or(0);
  return spec;
}

Napi::Value SocketOpen(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  const SocketSpec spec = ParseSpec(info.Env(), info[1]);
  return RunAsync<UniqueFd>(info, [netns, spec](StopSignal) {
    return InNamespace<UniqueFd>(netns->number(), [&] { return Open(spec); });
  });
}

Napi::Value SocketError(const Napi::CallbackInfo& info) {
  const SharedFile file = FileArgument(info, 0);
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(file ? file->number() : -1, SOL_SOCKET, SO_ERROR, &error, &length) < 0) error = errno;
  return Napi::Number::New(info.Env(), error);
}

}  // namespace

Result<Done> SetOption(int socket, int level, int option, int value, const char* syscall) {
  if (setsockopt(socket, level, option, &value, sizeof value) < 0) return LastError(syscall);
  return Done{};
}

Result<Done> SetReceiveBuffer(int socket, std::uint32_t bytes) {
  const int size = static_cast<int>(bytes);
  if (setsockopt(socket, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) == 0) return Done{};
  return SetOption(socket, SOL_SOCKET, SO_RCVBUF, size, "setsockopt(SO_RCVBUF)");
}

void DefineSocket(Exports& exports) {
  exports.Define<SocketOpen>("socketOpen");
  exports.Define<SocketError>("socketError");
}

}  // namespace podtap
