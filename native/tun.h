#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <node_api.h>

#include "failure.h"
#include "unique_fd.h"

namespace podtap {

struct Environment;

/** `TunSpec` of lib/native.ts. */
struct TunSpec {
  std::string name;
  std::uint16_t flags = 0;
  std::uint32_t queues = 1;
  std::optional<std::uint32_t> ifindex;
  std::optional<bool> persist;
  std::optional<std::uint32_t> owner;
  std::optional<std::uint32_t> group;
  std::optional<std::uint32_t> vnetHeaderSize;
  std::optional<std::uint32_t> offload;
  bool hold = true;
};

/** `TunInfo` of lib/native.ts. */
struct TunInfo {
  std::string name;
  std::uint32_t ifindex = 0;
  std::uint32_t flags = 0;
  std::uint32_t vnetHeaderSize = 0;
};

struct TunDevice {
  TunInfo info;
  std::vector<UniqueFd> queues;
};

/** Makes or attaches to the device in the calling thread's namespace, which is the one /dev/net/tun binds to. */
Result<TunDevice> OpenTun(const TunSpec& spec);

/** What the device of `queue` is now, under the name and in the namespace it has by now. */
Result<TunInfo> QueryTun(int queue);

/** A tun descriptor that another process has open. */
struct ForeignTun {
  std::string name;
  std::uint64_t netnsInode = 0;
};

/** Which device descriptor `number` of process `pid` belongs to; needs PTRACE_MODE_ATTACH_REALCREDS over it. */
Result<ForeignTun> FindForeignTun(int pid, int number);

napi_value ToValue(Environment& environment, napi_env env, TunDevice device);

struct Exports;
void DefineTun(Exports& exports);

}  // namespace podtap
