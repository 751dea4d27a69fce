#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <node_api.h>
#include <sys/types.h>

namespace podtap {

struct Exports;
class OpenFile;

/** One read that never blocks: the length, or -errno. */
using ReadOne = ssize_t (*)(OpenFile& file, std::byte* into, std::size_t room);

/**
 * The body of readTun, readSocket, readPackets, readNetlink: (descriptor, into: Uint8Array, ends: Uint32Array) => count or -errno.
 * Reads until nothing is there, `ends` is full, or less than `largest` bytes are free, since what does not fit is
 * cut off by the kernel. The first read always happens.
 */
napi_value ReadDatagrams(napi_env env, napi_callback_info info, std::size_t largest, ReadOne readOne);

// A GSO frame is 64 KiB at most (IP's length field), with an Ethernet and a virtio-net header before it.
constexpr std::size_t kLargestFrame = 65536 + 64;

void DefineDatagrams(Exports& exports);

}  // namespace podtap
