#include "packet.h"

#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include "environment.h"
#include "netns.h"
#include "socket.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23  // include/uapi/linux/if_packet.h, Linux 4.20
#endif

// packet(7) and Documentation/networking/filter.rst.

namespace podtap {
namespace {

struct PacketSpec {
  int ifindex = 0;
  std::uint16_t protocol = 0;
  std::vector<sock_filter> filter;
  bool outgoing = true;
  bool promiscuous = false;
  std::optional<std::uint32_t> bufferSize;
};

Result<Done> Configure(int socket, PacketSpec& spec) {
  if (!spec.filter.empty()) {
    const sock_fprog program{static_cast<unsigned short>(spec.filter.size()), spec.filter.data()};
    if (setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0) {
      return LastError("setsockopt(SO_ATTACH_FILTER)");
    }
  }
  if (!spec.outgoing) {
    Result<Done> set =
        SetOption(socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "setsockopt(PACKET_IGNORE_OUTGOING)");
    if (!set.ok()) return set;
  }
  if (spec.bufferSize) {
    Result<Done> set = SetReceiveBuffer(socket, *spec.bufferSize);
    if (!set.ok()) return set;
  }
  if (spec.promiscuous) {
    packet_mreq membership{};
    membership.mr_ifindex = spec.ifindex;
    membership.mr_type = PACKET_MR_PROMISC;
    if (setsockopt(socket, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership, sizeof membership) < 0) {
      return LastError("setsockopt(PACKET_ADD_MEMBERSHIP)");
    }
  }
  return Done{};
}

Result<UniqueFd> Open(PacketSpec spec) {
  // Protocol 0 receives nothing: no frame of another interface, or that the filter refuses, gets in before bind.
  UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return LastError("socket");
  Result<Done> configured = Configure(socket.get(), spec);
  if (!configured.ok()) return std::move(configured.failure());
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(spec.protocol);
  address.sll_ifindex = spec.ifindex;
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return LastError("bind");
  return socket;
}

PacketSpec ParseSpec(napi_env env, napi_value object) {
  PacketSpec spec;
  spec.ifindex = ReadSigned(env, Property(env, object, "ifindex"));
  spec.protocol = static_cast<std::uint16_t>(ReadUnsigned(env, Property(env, object, "protocol")));
  const std::span<const std::byte> program = ReadBytes(env, Property(env, object, "filter"));
  spec.filter.resize(program.size() / sizeof(sock_filter));
  if (!spec.filter.empty()) std::memcpy(spec.filter.data(), program.data(), spec.filter.size() * sizeof(sock_filter));
  spec.outgoing = OptionalFlag(env, object, "outgoing").value_or(true);
  spec.promiscuous = OptionalFlag(env, object, "promiscuous").value_or(false);
  spec.bufferSize = OptionalUnsigned(env, object, "bufferSize");
  return spec;
}

Napi::Value PacketOpen(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  const PacketSpec spec = ParseSpec(info.Env(), info[1]);
  return RunAsync<UniqueFd>(info, [netns, spec](StopSignal) {
    return InNamespace<UniqueFd>(netns->number(), [&] { return Open(spec); });
  });
}

}  // namespace

void DefinePacket(Exports& exports) { exports.Define<PacketOpen>("packetOpen"); }

}  // namespace podtap
