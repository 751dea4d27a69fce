#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "buffer.h"
#include "failure.h"
#include "unique_fd.h"

// bpf(2), as it is: no libbpf, no libelf. What is asked of the kernel stands in lib/kernel/bpf.ts.

namespace podtap {

/** `attributes` is no longer than the command needs: an older kernel refuses what it does not know, unless it is 0. */
template <typename Attributes>
int CallBpf(int command, Attributes& attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

template <typename Attributes>
Result<UniqueFd> OpenBpf(int command, Attributes& attributes, const char* syscall, std::string path = {}) {
  // The kernel sets FD_CLOEXEC on everything that bpf(2) opens.
  UniqueFd fd(CallBpf(command, attributes));
  if (!fd.valid()) return LastError(syscall, std::move(path));
  return fd;
}

inline std::uint64_t AddressOf(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

/** Fills in `info`, a struct bpf_*_info whose pointers and counts the caller has set. */
template <typename Info>
Result<Done> QueryBpf(int fd, Info& info) {
  struct {
    std::uint32_t fd;
    std::uint32_t length;
    std::uint64_t info;
  } attributes{static_cast<std::uint32_t>(fd), sizeof info, AddressOf(&info)};
  if (CallBpf(BPF_OBJ_GET_INFO_BY_FD, attributes) < 0) return LastError("bpf(BPF_OBJ_GET_INFO_BY_FD)");
  return Done{};
}

/** Values of `BpfMapGetReply`, `BpfMapEntries`, `BpfMapReply` of lib/native.ts. */
struct BpfFound {
  Buffer values;
  Buffer found;
};
struct BpfEntries {
  Buffer keys;
  Buffer values;
};
struct BpfChanged {
  std::uint32_t completed = 0;
  int error = 0;
};

/** `BpfLoadReply`. */
struct BpfLoaded {
  UniqueFd program;
  int error = 0;
  std::string log;
};

/** `BpfProgramInfo`. */
struct BpfProgram {
  bpf_prog_info info;
  std::vector<std::uint32_t> maps;
};
struct BpfMap {
  bpf_map_info info;
};
/** `BpfLinkInfo`: the head of struct bpf_link_info, and what stands in it for tcx (since Linux 6.6). */
struct BpfLink {
  std::uint32_t type = 0;
  std::uint32_t id = 0;
  std::uint32_t program = 0;
  std::uint32_t ifindex = 0;
  std::uint32_t attachType = 0;
};
struct BpfIds {
  std::vector<std::uint32_t> ids;
};

/** `BpfRun`. */
struct BpfRan {
  std::uint32_t value = 0;
  std::uint32_t nanoseconds = 0;
  Buffer data;
};

/** `BpfHook`. */
struct BpfHook {
  struct Attached {
    std::uint32_t program;
    std::uint32_t link;
  };
  std::uint64_t revision = 0;
  std::vector<Attached> attached;
};

struct Exports;
void DefineBpf(Exports& exports);
void DefineBpfMaps(Exports& exports);
void DefineBpfHooks(Exports& exports);

}  // namespace podtap
