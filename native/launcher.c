/*
 * podtap-launcher <netns descriptor> <error descriptor> <command> [argument]...
 *
 * Enters a network namespace and becomes the command. A separate program, because no thread of a JavaScript runtime
 * may change its namespace, and the runtimes' spawn() has no step between fork and exec.
 *
 * The error descriptor is a pipe or socket of the parent. It closes on success, when the command is executed; on
 * failure it carries one line, "<errno> <step>", the step being "setns" or "execve", and the exit status is 127.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* As a shell does where a command cannot be run. */
enum { CANNOT_RUN = 127 };

static int report(int descriptor, int error, const char *step)
{
  char line[64];
  const int length = snprintf(line, sizeof line, "%d %s\n", error, step);
  if (write(descriptor, line, (size_t)length) != length) return CANNOT_RUN; /* nobody is left to tell */
  return CANNOT_RUN;
}

int main(int argc, char **argv)
{
  if (argc < 4) {
    fputs("usage: podtap-launcher <netns descriptor> <error descriptor> <command> [argument]...\n", stderr);
    return CANNOT_RUN;
  }
  const int netns = atoi(argv[1]);
  const int errors = atoi(argv[2]);
  fcntl(netns, F_SETFD, FD_CLOEXEC);
  fcntl(errors, F_SETFD, FD_CLOEXEC);
  if (setns(netns, CLONE_NEWNET) < 0) return report(errors, errno, "setns");
  close(netns);
  execvp(argv[3], argv + 3);
  return report(errors, errno, "execve");
}
