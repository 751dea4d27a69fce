#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <sys/types.h>

#include "failure.h"

struct tpacket3_hdr;

namespace podtap {

/**
 * Frames in memory shared with the kernel: TPACKET_V3. A frame costs its reader a copy instead of a system call, and
 * the memory holds frames alone: a socket's buffer counts every small one as some 800 bytes.
 * Documentation/networking/packet_mmap.rst.
 */
class PacketRing {
 public:
  /** Of one block; the largest frame fits. */
  static constexpr std::uint32_t kBlockSize = 128 * 1024;
  /** A block that is not full is handed over after this many milliseconds. */
  static constexpr std::uint32_t kPatience = 8;

  /** For a socket that is not bound yet. */
  static Result<std::shared_ptr<PacketRing>> Make(int socket, std::uint32_t blocks);

  PacketRing(const PacketRing&) = delete;
  PacketRing& operator=(const PacketRing&) = delete;
  ~PacketRing();

  /** Writes a header (lib/wire/capture.ts) and the frame behind it: how many bytes, or -errno; -EAGAIN: there is none. */
  ssize_t ReadOne(int socket, std::byte* into, std::size_t room);

 private:
  PacketRing(std::byte* memory, std::uint32_t blocks) : memory_(memory), blocks_(blocks) {}

  std::byte* memory_;
  std::uint32_t blocks_;
  std::uint32_t block_ = 0;        // the next one, or that which is being read
  std::uint32_t left_ = 0;         // frames of it that were not read yet
  const tpacket3_hdr* next_ = nullptr;
};

}  // namespace podtap
