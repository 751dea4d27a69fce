#include "packet_ring.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <linux/if_packet.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "socket.h"

namespace podtap {
namespace {

/** Before each frame, in the host's byte order; lib/wire/capture.ts knows it, too. */
struct PacketHeader {
  std::uint64_t nanoseconds;  // since 1970
  std::uint32_t length;       // of the frame on the wire, which a filter may have cut
  std::uint16_t tag;          // of a VLAN tag that is not in the frame
  std::uint16_t tagProtocol;  // 0: there is none
  std::uint8_t type;          // PACKET_HOST, PACKET_OUTGOING, ...
  std::uint8_t padding[7];
};
static_assert(sizeof(PacketHeader) == 24);

constexpr std::uint16_t kVlan = 0x8100;  // ETH_P_8021Q

PacketHeader Describe(const tpacket3_hdr& frame) {
  PacketHeader header{};
  header.nanoseconds = std::uint64_t{frame.tp_sec} * 1'000'000'000 + frame.tp_nsec;
  header.length = frame.tp_len;
  sockaddr_ll address{};
  std::memcpy(&address, reinterpret_cast<const std::byte*>(&frame) + TPACKET_ALIGN(sizeof frame), sizeof address);
  header.type = address.sll_pkttype;
  if ((frame.tp_status & TP_STATUS_VLAN_VALID) != 0) {
    header.tag = static_cast<std::uint16_t>(frame.hv1.tp_vlan_tci);
    header.tagProtocol = (frame.tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? frame.hv1.tp_vlan_tpid : kVlan;
  }
  return header;
}

/** The kernel tells an error once; not read, poll(2) would report it for ever. */
ssize_t NothingOrError(int socket) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
  return error == 0 ? -EAGAIN : -error;
}

}  // namespace

Result<std::shared_ptr<PacketRing>> PacketRing::Make(int socket, std::uint32_t blocks) {
  Result<Done> set = SetOption(socket, SOL_PACKET, PACKET_VERSION, TPACKET_V3, "setsockopt(PACKET_VERSION)");
  if (!set.ok()) return std::move(set.failure());
  tpacket_req3 request{};
  request.tp_block_size = kBlockSize;
  request.tp_block_nr = blocks;
  // Frames are packed, whatever this says; it has to divide the block.
  request.tp_frame_size = kBlockSize;
  request.tp_frame_nr = blocks;
  request.tp_retire_blk_tov = kPatience;
  if (setsockopt(socket, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) < 0) {
    return LastError("setsockopt(PACKET_RX_RING)");
  }
  void* memory = mmap(nullptr, std::size_t{kBlockSize} * blocks, PROT_READ | PROT_WRITE, MAP_SHARED, socket, 0);
  if (memory == MAP_FAILED) return LastError("mmap");
  return std::shared_ptr<PacketRing>(new PacketRing(static_cast<std::byte*>(memory), blocks));
}

PacketRing::~PacketRing() { munmap(memory_, std::size_t{kBlockSize} * blocks_); }

ssize_t PacketRing::ReadOne(int socket, std::byte* into, std::size_t room) {
  auto* const block = reinterpret_cast<tpacket_block_desc*>(memory_ + std::size_t{kBlockSize} * block_);
  std::uint32_t& status = block->hdr.bh1.block_status;
  if (left_ == 0) {
    if ((__atomic_load_n(&status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) == 0) return NothingOrError(socket);
    left_ = block->hdr.bh1.num_pkts;
    next_ = reinterpret_cast<const tpacket3_hdr*>(reinterpret_cast<std::byte*>(block) +
                                                  block->hdr.bh1.offset_to_first_pkt);
  }
  ssize_t length = -EAGAIN;  // of a block that was handed over empty
  if (left_ > 0) {
    const PacketHeader header = Describe(*next_);
    if (room < sizeof header) return -EMSGSIZE;
    // Longer than 64 KiB are only those of BIG TCP; the header tells how long they were.
    const std::size_t kept = std::min<std::size_t>(next_->tp_snaplen, room - sizeof header);
    const auto* const frame = reinterpret_cast<const std::byte*>(next_);
    std::memcpy(into, &header, sizeof header);
    std::memcpy(into + sizeof header, frame + next_->tp_mac, kept);
    length = static_cast<ssize_t>(sizeof header + kept);
    next_ = reinterpret_cast<const tpacket3_hdr*>(frame + next_->tp_next_offset);
    --left_;
  }
  if (left_ == 0) {
    __atomic_store_n(&status, std::uint32_t{TP_STATUS_KERNEL}, __ATOMIC_RELEASE);
    block_ = (block_ + 1) % blocks_;
  }
  return length;
}

}  // namespace podtap
