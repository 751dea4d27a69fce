#include "packet.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include "datagrams.h"
#include "environment.h"
#include "netns.h"
#include "packet_ring.h"
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
  std::uint32_t ringBlocks = 0;
  std::optional<std::uint32_t> bufferSize;
};

struct OpenPacket {
  UniqueFd socket;
  std::shared_ptr<PacketRing> ring;  // null without one
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

Result<OpenPacket> Open(PacketSpec spec) {
  // Protocol 0 receives nothing: no frame of another interface, or that the filter refuses, gets in before bind.
  UniqueFd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return LastError("socket");
  Result<Done> configured = Configure(socket.get(), spec);
  if (!configured.ok()) return std::move(configured.failure());
  std::shared_ptr<PacketRing> ring;
  if (spec.ringBlocks > 0) {
    Result<std::shared_ptr<PacketRing>> made = PacketRing::Make(socket.get(), spec.ringBlocks);
    if (!made.ok()) return std::move(made.failure());
    ring = std::move(made.value());
  }
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(spec.protocol);
  address.sll_ifindex = spec.ifindex;
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return LastError("bind");
  return OpenPacket{std::move(socket), std::move(ring)};
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
  spec.ringBlocks = OptionalUnsigned(env, object, "ringBlocks").value_or(0);
  spec.bufferSize = OptionalUnsigned(env, object, "bufferSize");
  return spec;
}

Napi::Value PacketOpen(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  const PacketSpec spec = ParseSpec(info.Env(), info[1]);
  return RunAsync<OpenPacket>(info, [netns, spec](StopSignal) {
    return InNamespace<OpenPacket>(netns->number(), [&] { return Open(spec); });
  });
}

ssize_t ReadPacket(OpenFile& file, std::byte* into, std::size_t room) {
  auto* const ring = static_cast<PacketRing*>(file.companion.get());
  return ring == nullptr ? -EOPNOTSUPP : ring->ReadOne(file.number(), into, room);
}

napi_value ReadPackets(napi_env env, napi_callback_info info) {
  return ReadDatagrams(env, info, kLargestFrame, ReadPacket);
}

/** What came through the filter since the last call, and how much of it found no room. */
Napi::Value PacketStatistics(const Napi::CallbackInfo& info) {
  const SharedFile file = FileArgument(info, 0);
  tpacket_stats found{};
  socklen_t size = sizeof found;
  if (getsockopt(file ? file->number() : -1, SOL_PACKET, PACKET_STATISTICS, &found, &size) < 0) {
    return Napi::Value(info.Env(), Throw(info.Env(), LastError("getsockopt(PACKET_STATISTICS)")));
  }
  Napi::Object told = Napi::Object::New(info.Env());
  told.Set("received", Napi::Number::New(info.Env(), found.tp_packets));
  told.Set("dropped", Napi::Number::New(info.Env(), found.tp_drops));
  return told;
}

}  // namespace

napi_value ToValue(Environment& environment, napi_env env, OpenPacket opened) {
  napi_value descriptor = MakeDescriptor(env, environment.descriptors, std::move(opened.socket));
  if (descriptor != nullptr) {
    if (const SharedFile file = ToFile(env, descriptor)) file->companion = std::move(opened.ring);
  }
  return descriptor;
}

void DefinePacket(Exports& exports) {
  exports.Define<PacketOpen>("packetOpen");
  exports.Define<PacketStatistics>("packetStatistics");
  exports.Define("readPackets", ReadPackets);
}

}  // namespace podtap
