#include <algorithm>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "netns.h"
#include "tun.h"

#ifndef TUNGETDEVNETNS
#define TUNGETDEVNETNS _IO('T', 227)  // include/uapi/linux/if_tun.h, Linux 5.2
#endif

// Documentation/networking/tuntap.rst and drivers/net/tun.c.

namespace podtap {
namespace {

constexpr const char* kDevice = "/dev/net/tun";

Result<UniqueFd> OpenDevice() {
  UniqueFd queue(open(kDevice, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!queue.valid()) return LastError("open", kDevice);
  return queue;
}

ifreq RequestFor(const std::string& name, std::uint16_t flags) {
  ifreq request{};
  // Longer names were refused before; the last byte stays 0.
  std::copy_n(name.begin(), std::min(name.size(), std::size_t{IFNAMSIZ - 1}), request.ifr_name);
  request.ifr_flags = static_cast<short>(flags);
  return request;
}

Result<Done> SetOffload(int queue, const TunSpec& spec) {
  if (spec.offload && ioctl(queue, TUNSETOFFLOAD, static_cast<unsigned long>(*spec.offload)) < 0) {
    return LastError("ioctl(TUNSETOFFLOAD)");
  }
  return Done{};
}

/** Everything up to TUNSETPERSIST, which is last: a failure before it leaves nothing behind once `queue` closes. */
Result<std::string> SetUp(int queue, const TunSpec& spec) {
  if (spec.ifindex) {
    unsigned int ifindex = *spec.ifindex;
    if (ioctl(queue, TUNSETIFINDEX, &ifindex) < 0) return LastError("ioctl(TUNSETIFINDEX)");
  }
  ifreq request = RequestFor(spec.name, spec.flags);
  if (ioctl(queue, TUNSETIFF, &request) < 0) return LastError("ioctl(TUNSETIFF)");
  if (spec.vnetHeaderSize) {
    int size = static_cast<int>(*spec.vnetHeaderSize);
    if (ioctl(queue, TUNSETVNETHDRSZ, &size) < 0) return LastError("ioctl(TUNSETVNETHDRSZ)");
  }
  Result<Done> offload = SetOffload(queue, spec);
  if (!offload.ok()) return std::move(offload.failure());
  if (spec.owner && ioctl(queue, TUNSETOWNER, static_cast<unsigned long>(*spec.owner)) < 0) {
    return LastError("ioctl(TUNSETOWNER)");
  }
  if (spec.group && ioctl(queue, TUNSETGROUP, static_cast<unsigned long>(*spec.group)) < 0) {
    return LastError("ioctl(TUNSETGROUP)");
  }
  if (spec.persist && ioctl(queue, TUNSETPERSIST, *spec.persist ? 1UL : 0UL) < 0) {
    return LastError("ioctl(TUNSETPERSIST)");
  }
  return std::string(request.ifr_name);
}

Result<UniqueFd> OpenFurtherQueue(const std::string& name, const TunSpec& spec) {
  Result<UniqueFd> queue = OpenDevice();
  if (!queue.ok()) return queue;
  ifreq request = RequestFor(name, static_cast<std::uint16_t>(spec.flags & ~IFF_TUN_EXCL));
  if (ioctl(queue.value().get(), TUNSETIFF, &request) < 0) return LastError("ioctl(TUNSETIFF)");
  Result<Done> offload = SetOffload(queue.value().get(), spec);
  if (!offload.ok()) return std::move(offload.failure());
  return queue;
}

Result<std::uint32_t> IfindexOf(const std::string& name) {
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return LastError("socket");
  ifreq request = RequestFor(name, 0);
  if (ioctl(socket.get(), SIOCGIFINDEX, &request) < 0) return LastError("ioctl(SIOCGIFINDEX)");
  return static_cast<std::uint32_t>(request.ifr_ifindex);
}

/** All but the ifindex, which no ioctl of the queue tells. */
Result<TunInfo> QueryQueue(int queue) {
  ifreq request{};
  if (ioctl(queue, TUNGETIFF, &request) < 0) return LastError("ioctl(TUNGETIFF)");
  TunInfo info;
  info.name = request.ifr_name;
  info.flags = static_cast<std::uint16_t>(request.ifr_flags);
  if ((info.flags & IFF_VNET_HDR) == 0) return info;
  int size = 0;
  if (ioctl(queue, TUNGETVNETHDRSZ, &size) < 0) return LastError("ioctl(TUNGETVNETHDRSZ)");
  info.vnetHeaderSize = static_cast<std::uint32_t>(size);
  return info;
}

Result<Done> Complete(TunDevice& device, const TunSpec& spec, const std::string& name) {
  while (device.queues.size() < spec.queues) {
    Result<UniqueFd> queue = OpenFurtherQueue(name, spec);
    if (!queue.ok()) return std::move(queue.failure());
    device.queues.push_back(std::move(queue.value()));
  }
  Result<TunInfo> info = QueryQueue(device.queues.front().get());
  if (!info.ok()) return std::move(info.failure());
  Result<std::uint32_t> ifindex = IfindexOf(info.value().name);
  if (!ifindex.ok()) return std::move(ifindex.failure());
  device.info = std::move(info.value());
  device.info.ifindex = ifindex.value();
  return Done{};
}

}  // namespace

Result<TunDevice> OpenTun(const TunSpec& spec) {
  Result<UniqueFd> first = OpenDevice();
  if (!first.ok()) return std::move(first.failure());
  TunDevice device;
  device.queues.push_back(std::move(first.value()));
  const int queue = device.queues.front().get();
  Result<std::string> name = SetUp(queue, spec);
  if (!name.ok()) return std::move(name.failure());
  Result<Done> complete = Complete(device, spec, name.value());
  if (!complete.ok()) {
    // With IFF_TUN_EXCL the device is one we have made: it must not outlive the failure.
    const bool ours = (spec.flags & IFF_TUN_EXCL) != 0;
    if (ours && spec.persist.value_or(false)) ioctl(queue, TUNSETPERSIST, 0UL);
    return std::move(complete.failure());
  }
  if (!spec.hold) device.queues.clear();
  return device;
}

Result<TunInfo> QueryTun(int queue) {
  Result<TunInfo> info = QueryQueue(queue);
  if (!info.ok()) return info;
  const UniqueFd netns(ioctl(queue, TUNGETDEVNETNS));
  if (!netns.valid()) return LastError("ioctl(TUNGETDEVNETNS)");
  const std::string& name = info.value().name;
  Result<std::uint32_t> ifindex = InNamespace<std::uint32_t>(netns.get(), [&] { return IfindexOf(name); });
  if (!ifindex.ok()) return std::move(ifindex.failure());
  info.value().ifindex = ifindex.value();
  return info;
}

Result<ForeignTun> FindForeignTun(int pid, int number) {
  // pidfd_open(2), Linux 5.3; pidfd_getfd(2), Linux 5.6. glibc has no wrapper before 2.36.
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0U)));
  if (!process.valid()) return LastError("pidfd_open");
  const UniqueFd queue(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), number, 0U)));
  if (!queue.valid()) return LastError("pidfd_getfd");
  ifreq request{};
  if (ioctl(queue.get(), TUNGETIFF, &request) < 0) return LastError("ioctl(TUNGETIFF)");
  const UniqueFd netns(ioctl(queue.get(), TUNGETDEVNETNS));
  if (!netns.valid()) return LastError("ioctl(TUNGETDEVNETNS)");
  struct stat status {};
  if (fstat(netns.get(), &status) < 0) return LastError("fstat");
  return ForeignTun{request.ifr_name, status.st_ino};
}

}  // namespace podtap
