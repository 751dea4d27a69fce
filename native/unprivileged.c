/*
 * podtap-unprivileged <command> [argument]...
 *
 * Becomes the command in namespaces of its own: user, with the caller as root; network, with the loopback up; mount, with
 * an empty /run, where ip-netns(8) and podtap keep their files. user_namespaces(7). No privileges are needed, where the
 * distribution allows user namespaces to everybody. Where something fails it says what, and the exit status is 127.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CANNOT_RUN = 127 };

static int fail(const char *step)
{
  fprintf(stderr, "podtap-unprivileged: %s: %s\n", step, strerror(errno));
  return CANNOT_RUN;
}

static int put(const char *file, const char *text)
{
  const int descriptor = open(file, O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) return -1;
  const ssize_t length = (ssize_t)strlen(text);
  const ssize_t written = write(descriptor, text, (size_t)length);
  const int error = errno;
  close(descriptor);
  errno = error;
  return written == length ? 0 : -1;
}

/* One identity can be mapped without privileges: the caller's, here to root. */
static int map(const char *file, unsigned identity)
{
  char line[32];
  snprintf(line, sizeof line, "0 %u 1", identity);
  return put(file, line);
}

static int loopback_up(void)
{
  const int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -1;
  struct ifreq request = {.ifr_name = "lo"};
  request.ifr_flags = IFF_UP;
  const int result = ioctl(descriptor, SIOCSIFFLAGS, &request);
  close(descriptor);
  return result;
}

int main(int argc, char **argv)
{
  if (argc < 2) {
    fputs("usage: podtap-unprivileged <command> [argument]...\n", stderr);
    return CANNOT_RUN;
  }
  const uid_t user = geteuid(); /* before they are those of the new namespace, where nobody is mapped yet */
  const gid_t group = getegid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) < 0) return fail("unshare(CLONE_NEWUSER)");
  /* A group can be mapped only by who has given up setgroups(2). */
  if (put("/proc/self/setgroups", "deny") < 0 && errno != ENOENT) return fail("/proc/self/setgroups");
  if (map("/proc/self/gid_map", group) < 0) return fail("/proc/self/gid_map");
  if (map("/proc/self/uid_map", user) < 0) return fail("/proc/self/uid_map");
  if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) return fail("mount --make-rprivate /");
  if (mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0) return fail("mount -t tmpfs /run");
  if (loopback_up() < 0) return fail("lo up");
  execvp(argv[1], argv + 1);
  return fail(argv[1]);
}
