#pragma once

#include <cstdint>
#include <optional>

#include "failure.h"
#include "tun.h"

namespace podtap {

/** `MacvtapSpec` of lib/native.ts. */
struct MacvtapSpec {
  std::uint32_t ifindex = 0;
  std::uint16_t flags = 0;
  std::uint32_t queues = 1;
  std::optional<std::uint32_t> vnetHeaderSize;
  std::optional<std::uint32_t> offload;
};

/** A character device: `DeviceNumber` of lib/native.ts. */
struct DeviceNumber {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
};

/** Of the macvtap with that index, in the calling thread's namespace. ENOENT at its path in sysfs: it is none. */
Result<DeviceNumber> FindMacvtap(std::uint32_t ifindex);

/** Opens it, in the calling thread's namespace. */
Result<TunDevice> OpenMacvtap(const MacvtapSpec& spec);

struct Exports;
void DefineMacvtap(Exports& exports);

}  // namespace podtap
