#include "packet.h"

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/time_types.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "datagrams.h"
#include "environment.h"
#include "netns.h"
#include "socket.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23  // include/uapi/linux/if_packet.h, Linux 4.20
#endif
#ifndef SO_TIMESTAMPNS_NEW
#define SO_TIMESTAMPNS_NEW 64  // include/uapi/asm-generic/socket.h, Linux 5.1: 64 bits of seconds on every machine
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
  bool described = false;
  std::optional<std::uint32_t> bufferSize;
};

/** Before each frame that readPackets reads, in the host's byte order; lib/wire/capture.ts knows it, too. */
struct PacketHeader {
  std::uint64_t nanoseconds;  // since 1970
  std::uint32_t length;       // of the frame on the wire, which a filter may have cut
  std::uint16_t tag;          // of a VLAN tag that is not in the frame
  std::uint16_t tagProtocol;  // 0: there is none
  std::uint8_t type;          // PACKET_HOST, PACKET_OUTGOING, ...
  std::uint8_t padding[7];
};
static_assert(sizeof(PacketHeader) == 24);

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
  if (spec.described) {
    Result<Done> set = SetOption(socket, SOL_SOCKET, SO_TIMESTAMPNS_NEW, 1, "setsockopt(SO_TIMESTAMPNS)");
    if (set.ok()) set = SetOption(socket, SOL_PACKET, PACKET_AUXDATA, 1, "setsockopt(PACKET_AUXDATA)");
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
  spec.described = OptionalFlag(env, object, "described").value_or(false);
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

void ReadControl(const cmsghdr& control, PacketHeader& header) {
  if (control.cmsg_level == SOL_SOCKET && control.cmsg_type == SO_TIMESTAMPNS_NEW) {
    __kernel_timespec time{};
    std::memcpy(&time, CMSG_DATA(&control), sizeof time);
    header.nanoseconds =
        static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
  } else if (control.cmsg_level == SOL_PACKET && control.cmsg_type == PACKET_AUXDATA) {
    tpacket_auxdata auxiliary{};
    std::memcpy(&auxiliary, CMSG_DATA(&control), sizeof auxiliary);
    header.length = auxiliary.tp_len;
    if ((auxiliary.tp_status & TP_STATUS_VLAN_VALID) == 0) return;
    header.tag = auxiliary.tp_vlan_tci;
    const bool told = (auxiliary.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0;
    header.tagProtocol = told ? auxiliary.tp_vlan_tpid : std::uint16_t{0x8100};
  }
}

ssize_t ReadPacket(int descriptor, std::byte* into, std::size_t room) {
  PacketHeader header{};
  if (room < sizeof header) return -EMSGSIZE;
  sockaddr_ll address{};
  iovec rest{into + sizeof header, room - sizeof header};
  alignas(cmsghdr) std::array<std::byte, 256> controls{};
  msghdr message{};
  message.msg_name = &address;
  message.msg_namelen = sizeof address;
  message.msg_iov = &rest;
  message.msg_iovlen = 1;
  message.msg_control = controls.data();
  message.msg_controllen = controls.size();
  const ssize_t length = recvmsg(descriptor, &message, MSG_DONTWAIT);
  if (length < 0) return -errno;
  header.type = address.sll_pkttype;
  for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) ReadControl(*at, header);
  std::memcpy(into, &header, sizeof header);
  return length + static_cast<ssize_t>(sizeof header);
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

void DefinePacket(Exports& exports) {
  exports.Define<PacketOpen>("packetOpen");
  exports.Define<PacketStatistics>("packetStatistics");
  exports.Define("readPackets", ReadPackets);
}

}  // namespace podtap
