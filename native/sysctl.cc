#include "sysctl.h"

#include <array>
#include <string>

#include <fcntl.h>

#include "environment.h"
#include "netns.h"

// What /proc/sys/net shows depends on the namespace of the thread that looks a name up there; a directory that was
// opened inside a namespace goes on showing that one to everybody (fs/proc/proc_sysctl.c, net/sysctl_net.c).

namespace podtap {
namespace {

Result<UniqueFd> OpenDirectory(const std::string& name) {
  const std::string path = "/proc/sys/net/" + name;
  UniqueFd directory(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return LastError("open", path);
  return directory;
}

/** All of it, whatever its size is said to be. */
Result<std::string> Read(int directory, const std::string& path) {
  const UniqueFd file(openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return LastError("openat", path);
  std::string content;
  std::array<char, 4096> buffer;
  for (;;) {
    const ssize_t length = read(file.get(), buffer.data(), buffer.size());
    if (length < 0) return LastError("read", path);
    if (length == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(length));
  }
}

Result<Done> Write(int directory, const std::string& path, const std::string& value) {
  const UniqueFd file(openat(directory, path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return LastError("openat", path);
  // In one piece: a sysctl takes a write at any offset but 0 for a new value, or ignores it (sysctl_writes_strict).
  if (write(file.get(), value.data(), value.size()) < 0) return LastError("write", path);
  return Done{};
}

Napi::Value SysctlOpen(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  const std::string name = ReadText(info.Env(), info[1]);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  return RunAsync<UniqueFd>(info, [netns, name](StopSignal) {
    return InNamespace<UniqueFd>(netns->number(), [&] { return OpenDirectory(name); });
  });
}

Napi::Value SysctlRead(const Napi::CallbackInfo& info) {
  const SharedFile directory = FileArgument(info, 0);
  const std::string path = ReadText(info.Env(), info[1]);
  if (!directory) return RejectedPromise(info, Failure{EBADF, "openat", path});
  return RunAsync<std::string>(info, [directory, path](StopSignal) { return Read(directory->number(), path); });
}

/** /proc/net of a thread is that of its namespace: another one's is there only for as long as a thread is inside. */
Napi::Value ProcNetRead(const Napi::CallbackInfo& info) {
  const SharedFile netns = FileArgument(info, 0);
  const std::string path = "/proc/thread-self/net/" + ReadText(info.Env(), info[1]);
  if (!netns) return RejectedPromise(info, Failure{EBADF, "setns"});
  return RunAsync<std::string>(info, [netns, path](StopSignal) {
    return InNamespace<std::string>(netns->number(), [&] { return Read(AT_FDCWD, path); });
  });
}

Napi::Value SysctlWrite(const Napi::CallbackInfo& info) {
  const SharedFile directory = FileArgument(info, 0);
  const std::string path = ReadText(info.Env(), info[1]);
  const std::string value = ReadText(info.Env(), info[2]);
  if (!directory) return RejectedPromise(info, Failure{EBADF, "openat", path});
  return RunAsync<Done>(info,
                        [directory, path, value](StopSignal) { return Write(directory->number(), path, value); });
}

}  // namespace

void DefineSysctl(Exports& exports) {
  exports.Define<SysctlOpen>("sysctlOpen");
  exports.Define<SysctlRead>("sysctlRead");
  exports.Define<SysctlWrite>("sysctlWrite");
  exports.Define<ProcNetRead>("procNetRead");
}

}  // namespace podtap
