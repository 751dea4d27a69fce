#include "lock.h"

#include <string>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "environment.h"

// A lock is a file on which flock(2) is held: the kernel lets go of it when the process dies, however it dies. Nothing
// waits here (LOCK_NB), so that a lock that is held for long keeps no thread, and what is left, a few calls on a file
// system in memory, takes less time than another thread's help; who waits asks again.

namespace podtap {
namespace {

Result<UniqueFd> OpenDirectory(const std::string& path) {
  UniqueFd directory(open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory.valid()) return LastError("open", path);
  return directory;
}

/** Whether the name still stands for the file that was opened by it. */
bool IsThere(int directory, const std::string& name, const struct stat& opened) {
  struct stat there {};
  return fstatat(directory, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_dev == opened.st_dev &&
         there.st_ino == opened.st_ino;
}

/** EAGAIN: somebody else has it. */
Result<UniqueFd> Acquire(const std::string& path, const std::string& name) {
  Result<UniqueFd> directory = OpenDirectory(path);
  if (!directory.ok()) return directory;
  const int at = directory.value().get();
  for (;;) {
    // O_NONBLOCK: a FIFO by that name must not block the thread. NFS wants O_RDWR for LOCK_EX.
    UniqueFd file(openat(at, name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600));
    if (!file.valid()) return LastError("openat", name);
    struct stat opened {};
    if (fstat(file.get(), &opened) < 0) return LastError("fstat", name);
    if (!S_ISREG(opened.st_mode)) return Failure{EINVAL, "openat", name};
    if (opened.st_uid != geteuid()) return Failure{EPERM, "openat", name};
    if (flock(file.get(), LOCK_EX | LOCK_NB) < 0) {
      if (errno == EINTR) continue;
      return LastError("flock", name);
    }
    // Its holder takes the file away when it lets go. A lock on one that was opened before that is worth nothing: the
    // next one makes a new file.
    if (IsThere(at, name, opened)) return file;
  }
}

Result<Done> Release(const OpenFile& lock, const std::string& path, const std::string& name) {
  struct stat opened {};
  Result<UniqueFd> directory = OpenDirectory(path);
  // Only who holds the lock on the file that has the name may take the name away.
  if (directory.ok() && fstat(lock.number(), &opened) == 0 && IsThere(directory.value().get(), name, opened)) {
    unlinkat(directory.value().get(), name.c_str(), 0);
  }
  // Closing would do, but for a child that was forked a moment ago and has not come to its exec yet: it has the file
  // open, too.
  if (flock(lock.number(), LOCK_UN) < 0) return LastError("flock(LOCK_UN)", name);
  return Done{};
}

Napi::Value LockAcquire(const Napi::CallbackInfo& info) {
  const std::string path = ReadText(info.Env(), info[0]);
  const std::string name = ReadText(info.Env(), info[1]);
  Result<UniqueFd> lock = Acquire(path, name);
  if (!lock.ok()) return Napi::Value(info.Env(), Throw(info.Env(), lock.failure()));
  return Napi::Value(info.Env(), ToValue(EnvironmentOf(info), info.Env(), std::move(lock.value())));
}

Napi::Value LockRelease(const Napi::CallbackInfo& info) {
  Descriptor* const descriptor = ToDescriptor(info.Env(), info[0]);
  const SharedFile lock = descriptor == nullptr ? nullptr : descriptor->Detach();
  const std::string path = ReadText(info.Env(), info[1]);
  const std::string name = ReadText(info.Env(), info[2]);
  Result<Done> released = lock ? Release(*lock, path, name) : Failure{EBADF, "flock(LOCK_UN)", name};
  if (!released.ok()) return Napi::Value(info.Env(), Throw(info.Env(), released.failure()));
  return Napi::Value(info.Env(), MakeUndefined(info.Env()));
}

}  // namespace

void DefineLock(Exports& exports) {
  exports.Define<LockAcquire>("lockAcquire");
  exports.Define<LockRelease>("lockRelease");
}

}  // namespace podtap
