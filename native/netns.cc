#include "netns.h"

#include <cstdint>
#include <string>

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "environment.h"
#include "netlink.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71  // include/uapi/asm-generic/socket.h, Linux 5.14
#endif

namespace podtap {
namespace {

struct Attachment {
  UniqueFd socket;
  std::optional<std::uint64_t> cookie;
  std::uint64_t inode;
};

napi_value ToValue(Environment& environment, napi_env env, Attachment attachment) {
  return ObjectMaker(env)
      .Set("socket", MakeDescriptor(env, environment.descriptors, std::move(attachment.socket)))
      .Set("cookie", attachment.cookie ? MakeBigInt(env, *attachment.cookie) : MakeUndefined(env))
      .Set("inode", MakeBigInt(env, attachment.inode))
      .Finish();
}

Result<UniqueFd> OpenPath(const std::string& path) {
  // O_NONBLOCK: a FIFO by that name must not block the thread.
  UniqueFd netns(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!netns.valid()) return LastError("open", path);
  // ioctl_ns(2). ENOTTY: not on nsfs at all; without it, a namespace of another kind.
  const int kind = ioctl(netns.get(), NS_GET_NSTYPE);
  if (kind != CLONE_NEWNET) return Failure{EINVAL, "ioctl(NS_GET_NSTYPE)", path};
  return netns;
}

Result<UniqueFd> CreateAnonymous() {
  std::optional<Result<UniqueFd>> result;
  Thread thread;
  const int error = thread.Start([&] {
    if (unshare(CLONE_NEWNET) < 0) {
      result = LastError("unshare");
      return;
    }
    constexpr const char* kOwn = "/proc/thread-self/ns/net";
    UniqueFd netns(open(kOwn, O_RDONLY | O_CLOEXEC));
    if (netns.valid()) {
      result = std::move(netns);
    } else {
      result = LastError("open", kOwn);
    }
  });
  if (error != 0) return Failure{error, "pthread_create"};
  thread.Join();
  return std::move(*result);
}

/**
 * The directory of named namespaces, as ip-netns(8) prepares it: a shared mount point, so that names made or removed
 * here are seen in (and let go by) mount namespaces that were copied from this one.
 */
Result<Done> PrepareDirectory(const std::string& directory) {
  if (mkdir(directory.c_str(), 0755) < 0 && errno != EEXIST) return LastError("mkdir", directory);
  // ip takes this lock, too: two processes that both find no mount point must not both make one.
  UniqueFd lock(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock.valid()) return LastError("open", directory);
  if (flock(lock.get(), LOCK_EX) < 0) return LastError("flock", directory);
  if (mount("", directory.c_str(), "none", MS_SHARED | MS_REC, nullptr) == 0) return Done{};
  if (errno != EINVAL) return LastError("mount(MS_SHARED)", directory);
  // EINVAL: not a mount point yet.
  if (mount(directory.c_str(), directory.c_str(), "none", MS_BIND | MS_REC, nullptr) < 0) {
    return LastError("mount(MS_BIND)", directory);
  }
  if (mount("", directory.c_str(), "none", MS_SHARED | MS_REC, nullptr) < 0) {
    return LastError("mount(MS_SHARED)", directory);
  }
  return Done{};
}

Result<Done> MountAt(int netns, const std::string& path) {
  const std::string::size_type slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) {
    Result<Done> prepared = PrepareDirectory(path.substr(0, slash));
    if (!prepared.ok()) return prepared;
  }
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
  if (!file.valid()) return LastError("open", path);
  const std::string source = "/proc/self/fd/" + std::to_string(netns);
  if (mount(source.c_str(), path.c_str(), "none", MS_BIND, nullptr) < 0) {
    Failure failure = LastError("mount(MS_BIND)", path);
    unlink(path.c_str());
    return failure;
  }
  return Done{};
}

Result<Done> UnmountAt(const std::string& path) {
  // EINVAL: nothing is mounted there, as after a crash between the file's creation and the mount.
  if (umount2(path.c_str(), MNT_DETACH) < 0 && errno != EINVAL) return LastError("umount2", path);
  if (unlink(path.c_str()) < 0) return LastError("unlink", path);
  return Done{};
}

Result<Attachment> Attach(int netns) {
  Result<UniqueFd> socket = OpenNetlink(NETLINK_ROUTE);
  if (!socket.ok()) return std::move(socket.failure());
  Attachment attachment{std::move(socket.value()), std::nullopt, 0};
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (getsockopt(attachment.socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) == 0) {
    attachment.cookie = cookie;
  } else if (errno != ENOPROTOOPT) {
    return LastError("getsockopt(SO_NETNS_COOKIE)");
  }
  struct stat status {};
  if (fstat(netns, &status) < 0) return LastError("fstat");
  attachment.inode = status.st_ino;
  return attachment;
}

Napi::Value NetnsOpen(const Napi::CallbackInfo& info) {
  const std::string path = ReadText(info.Env(), info[0]);
  return RunAsync<UniqueFd>(info, [path](StopSignal) { return OpenPath(path); });
}

Napi::Value NetnsCreate(const Napi::CallbackInfo& info) {
  return RunAsync<UniqueFd>(info, [](StopSignal) { return CreateAnonymous(); });
}

Napi::Value NetnsMount(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  const std::string path = ReadText(info.Env(), info[1]);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "mount(MS_BIND)", path});
  return RunAsync<Done>(info, [netns, path](StopSignal) { return MountAt(netns->number(), path); });
}

Napi::Value NetnsUnmount(const Napi::CallbackInfo& info) {
  const std::string path = ReadText(info.Env(), info[0]);
  return RunAsync<Done>(info, [path](StopSignal) { return UnmountAt(path); });
}

Napi::Value NetnsAttach(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  return RunAsync<Attachment>(info, [netns](StopSignal) {
    return InNamespace<Attachment>(netns->number(), [&] { return Attach(netns->number()); });
  });
}

}  // namespace

int EnterNamespace(int netns) {
  if (setns(netns, CLONE_NEWNET) == 0) return 0;
  // Even to the namespace that a thread is in, setns(2) wants CAP_SYS_ADMIN; whoever may only read may read there.
  const int error = errno;
  struct stat wanted {};
  struct stat current {};
  if (error == EPERM && fstat(netns, &wanted) == 0 && stat("/proc/thread-self/ns/net", &current) == 0 &&
      wanted.st_dev == current.st_dev && wanted.st_ino == current.st_ino) {
    return 0;
  }
  errno = error;
  return -1;
}

void DefineNetns(Exports& exports) {
  exports.Define<NetnsOpen>("netnsOpen");
  exports.Define<NetnsCreate>("netnsCreate");
  exports.Define<NetnsMount>("netnsMount");
  exports.Define<NetnsUnmount>("netnsUnmount");
  exports.Define<NetnsAttach>("netnsAttach");
}

}  // namespace podtap
