#include "macvtap.h"

#include <array>
#include <charconv>
#include <memory>
#include <string>

#include <dirent.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "environment.h"
#include "netns.h"

// A macvtap is not opened by its name but by a character device of its own. Its number is nowhere in rtnetlink, and the
// name /dev/tapN, after the ifindex, is that of one of several namespaces. So the number is read in a sysfs of
// the namespace, and the device opened by a node that is in no file system that anybody sees: both of mounts that are
// attached nowhere (fsopen(2), fsmount(2), Linux 5.2), gone with their descriptors. drivers/net/tap.c.

namespace podtap {
namespace {

// The same on every architecture that podtap runs on; glibc has no wrappers before 2.36.
#ifndef SYS_fsopen
#define SYS_fsopen 430
#endif
#ifndef SYS_fsconfig
#define SYS_fsconfig 431
#endif
#ifndef SYS_fsmount
#define SYS_fsmount 432
#endif
constexpr unsigned int kOpenCloexec = 1;     // FSOPEN_CLOEXEC
constexpr unsigned int kMountCloexec = 1;    // FSMOUNT_CLOEXEC
constexpr unsigned int kCommandCreate = 6;   // FSCONFIG_CMD_CREATE

/** A file system that is mounted nowhere. */
Result<UniqueFd> MountDetached(const char* type) {
  const UniqueFd context(static_cast<int>(syscall(SYS_fsopen, type, kOpenCloexec)));
  if (!context.valid()) return LastError("fsopen", type);
  if (syscall(SYS_fsconfig, context.get(), kCommandCreate, nullptr, nullptr, 0) < 0) return LastError("fsconfig", type);
  UniqueFd mount(static_cast<int>(syscall(SYS_fsmount, context.get(), kMountCloexec, 0)));
  if (!mount.valid()) return LastError("fsmount", type);
  return mount;
}

std::string NodeName(std::uint32_t ifindex) { return "tap" + std::to_string(ifindex); }

/** "246:1" */
std::optional<DeviceNumber> ParseNumber(const char* text, const char* end) {
  DeviceNumber number;
  const auto [colon, bad] = std::from_chars(text, end, number.major);
  if (bad != std::errc{} || colon == end || *colon != ':') return std::nullopt;
  if (std::from_chars(colon + 1, end, number.minor).ec != std::errc{}) return std::nullopt;
  return number;
}

bool IsDevice(const struct stat& status, const DeviceNumber& number) {
  return S_ISCHR(status.st_mode) && major(status.st_rdev) == number.major && minor(status.st_rdev) == number.minor;
}

/** A path of /dev that is this very device; empty where there is none. */
std::string FindNode(const DeviceNumber& number) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/dev"), closedir);
  if (!directory) return {};
  while (const dirent* const entry = readdir(directory.get())) {
    struct stat status {};
    if (std::string_view(entry->d_name).starts_with("tap") &&
        fstatat(dirfd(directory.get()), entry->d_name, &status, 0) == 0 && IsDevice(status, number)) {
      return std::string("/dev/") + entry->d_name;
    }
  }
  return {};
}

/** What a queue is opened by: each open(2) of it makes another one. */
struct Node {
  UniqueFd directory;
  std::string path;
};

Result<Node> MakeNode(const DeviceNumber& number, std::uint32_t ifindex) {
  Node node{UniqueFd(), NodeName(ifindex)};
  Result<UniqueFd> mount = MountDetached("tmpfs");
  Failure failure{0, "mknodat", node.path};
  if (!mount.ok()) {
    failure = std::move(mount.failure());
  } else if (mknodat(mount.value().get(), node.path.c_str(), S_IFCHR | 0600,
                     makedev(number.major, number.minor)) == 0) {
    node.directory = std::move(mount.value());
    return node;
  } else {
    failure.error = errno;
  }
  // In a user namespace no device node can be made. One that is there will do, if it is the same device.
  node.path = FindNode(number);
  if (node.path.empty()) return failure;
  return node;
}

Result<UniqueFd> OpenNode(const Node& node, const DeviceNumber& number) {
  constexpr int kFlags = O_RDWR | O_NONBLOCK | O_CLOEXEC;
  if (node.directory.valid()) {
    UniqueFd queue(openat(node.directory.get(), node.path.c_str(), kFlags));
    if (!queue.valid()) return LastError("openat", node.path);
    return queue;
  }
  // Looked at again before it is opened: one that has taken the name meanwhile would get a queue that nobody reads.
  const UniqueFd place(open(node.path.c_str(), O_PATH | O_CLOEXEC));
  if (!place.valid()) return LastError("open", node.path);
  struct stat status {};
  if (fstat(place.get(), &status) < 0) return LastError("fstat", node.path);
  if (!IsDevice(status, number)) return Failure{ENXIO, "open", node.path};
  UniqueFd queue(open(("/proc/self/fd/" + std::to_string(place.get())).c_str(), kFlags));
  if (!queue.valid()) return LastError("open", node.path);
  return queue;
}

/** Flags, header size and offloads outlive their opener: always set. */
Result<Done> SetUpQueue(int queue, const MacvtapSpec& spec) {
  ifreq request{};
  request.ifr_flags = static_cast<short>(spec.flags);
  if (ioctl(queue, TUNSETIFF, &request) < 0) return LastError("ioctl(TUNSETIFF)");
  if (spec.vnetHeaderSize) {
    int size = static_cast<int>(*spec.vnetHeaderSize);
    if (ioctl(queue, TUNSETVNETHDRSZ, &size) < 0) return LastError("ioctl(TUNSETVNETHDRSZ)");
  }
  if (spec.offload && ioctl(queue, TUNSETOFFLOAD, static_cast<unsigned long>(*spec.offload)) < 0) {
    return LastError("ioctl(TUNSETOFFLOAD)");
  }
  return Done{};
}

Result<TunInfo> Describe(int queue) {
  ifreq request{};
  if (ioctl(queue, TUNGETIFF, &request) < 0) return LastError("ioctl(TUNGETIFF)");
  TunInfo info;
  info.name = request.ifr_name;
  info.flags = static_cast<std::uint16_t>(request.ifr_flags);
  info.ifindex = if_nametoindex(request.ifr_name);
  int size = 0;
  if ((info.flags & IFF_VNET_HDR) != 0) {
    if (ioctl(queue, TUNGETVNETHDRSZ, &size) < 0) return LastError("ioctl(TUNGETVNETHDRSZ)");
    info.vnetHeaderSize = static_cast<std::uint32_t>(size);
  }
  return info;
}

MacvtapSpec ParseSpec(napi_env env, napi_value object) {
  MacvtapSpec spec;
  spec.ifindex = ReadUnsigned(env, Property(env, object, "ifindex"));
  spec.flags = static_cast<std::uint16_t>(ReadUnsigned(env, Property(env, object, "flags")));
  spec.queues = ReadUnsigned(env, Property(env, object, "queues"));
  spec.vnetHeaderSize = OptionalUnsigned(env, object, "vnetHeaderSize");
  spec.offload = OptionalUnsigned(env, object, "offload");
  return spec;
}

Napi::Value MacvtapFind(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  const std::uint32_t ifindex = ReadUnsigned(info.Env(), info[1]);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  return RunAsync<DeviceNumber>(info, [netns, ifindex](StopSignal) {
    return InNamespace<DeviceNumber>(netns->number(), [&] { return FindMacvtap(ifindex); });
  });
}

Napi::Value MacvtapOpen(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  const MacvtapSpec spec = ParseSpec(info.Env(), info[1]);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  return RunAsync<TunDevice>(info, [netns, spec](StopSignal) {
    return InNamespace<TunDevice>(netns->number(), [&] { return OpenMacvtap(spec); });
  });
}

}  // namespace

Result<DeviceNumber> FindMacvtap(std::uint32_t ifindex) {
  // What it shows of network devices is those of the namespace of the thread that makes it.
  Result<UniqueFd> sysfs = MountDetached("sysfs");
  if (!sysfs.ok()) return std::move(sysfs.failure());
  const std::string path = "class/macvtap/" + NodeName(ifindex) + "/dev";
  const UniqueFd file(openat(sysfs.value().get(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return LastError("openat", path);
  std::array<char, 32> text;
  const ssize_t length = read(file.get(), text.data(), text.size());
  if (length < 0) return LastError("read", path);
  const std::optional<DeviceNumber> number = ParseNumber(text.data(), text.data() + length);
  if (!number) return Failure{EBADMSG, "read", path};
  return *number;
}

Result<TunDevice> OpenMacvtap(const MacvtapSpec& spec) {
  Result<DeviceNumber> number = FindMacvtap(spec.ifindex);
  if (!number.ok()) return std::move(number.failure());
  Result<Node> node = MakeNode(number.value(), spec.ifindex);
  if (!node.ok()) return std::move(node.failure());
  TunDevice device;
  while (device.queues.size() < spec.queues) {
    Result<UniqueFd> queue = OpenNode(node.value(), number.value());
    if (!queue.ok()) return std::move(queue.failure());
    Result<Done> ready = SetUpQueue(queue.value().get(), spec);
    if (!ready.ok()) return std::move(ready.failure());
    device.queues.push_back(std::move(queue.value()));
  }
  if (device.queues.empty()) return Failure{EINVAL, "openat"};
  Result<TunInfo> info = Describe(device.queues.front().get());
  if (!info.ok()) return std::move(info.failure());
  // Another one may have got the number since it was looked up.
  if (info.value().ifindex != spec.ifindex) return Failure{ENODEV, "openat", NodeName(spec.ifindex)};
  device.info = std::move(info.value());
  return device;
}

napi_value ToValue(Environment&, napi_env env, DeviceNumber number) {
  return ObjectMaker(env)
      .Set("major", MakeUnsigned(env, number.major))
      .Set("minor", MakeUnsigned(env, number.minor))
      .Finish();
}

void DefineMacvtap(Exports& exports) {
  exports.Define<MacvtapFind>("macvtapFind");
  exports.Define<MacvtapOpen>("macvtapOpen");
}

}  // namespace podtap
