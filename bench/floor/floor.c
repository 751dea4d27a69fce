/* The floor: the same system calls as podtap makes, from C, with one socket and as small messages as can be.
 * Reads commands, one a line, from standard input, and answers each with a line of numbers, mostly nanoseconds an operation. */
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct {
  const char *name;
  command *run;
} commands[] = {
  {"enter", enter},
  {"getlink", getlink},
  {"updown", updown},
  {"address", address},
  {"mac", mac},
  {"change", change},
  {"tap", tap},
  {"veth", veth},
  {"bridge", bridge},
  {"pod", pod},
  {"plumb", plumb},
  {"unplumb", unplumb},
  {"plumb-redirect", plumb_redirect},
  {"unplumb-redirect", unplumb_redirect},
  {"packets", packets},
  {"routes", dump_routes},
  {"neighbors", dump_neighbors},
  {"links", dump_links},
  {"fill-routes", fill_routes},
  {"fill-neighbors", fill_neighbors},
  {"fill-links", fill_links},
  {"fill-tap", fill_tap},
  {"echo", echo_frames},
  {"burst", burst},
  {"churn", churn},
  {"overlay", overlay},
};

int netlink_socket;

int main(void)
{
  netlink_socket = open_netlink();
  char line[512];
  while (fgets(line, sizeof line, stdin)) {
    char *words[10] = {0};
    size_t count = 0;
    for (char *word = strtok(line, " \n"); word && count < 9; word = strtok(NULL, " \n")) words[count++] = word;
    command *run = NULL;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
      if (count > 0 && strcmp(commands[i].name, words[0]) == 0) run = commands[i].run;
    if (!run) {
      printf("error no such command\n");
    } else {
      const struct answer answer = run(words + 1);
      for (size_t i = 0; i < answer.count; i++) printf("%llu ", (unsigned long long)answer.numbers[i]);
      printf("\n");
    }
    fflush(stdout);
  }
}

struct answer enter(char **words)
{
  const int netns = open(words[0], O_RDONLY | O_CLOEXEC);
  if (netns < 0 || setns(netns, CLONE_NEWNET) < 0) fail(words[0]);
  close(netns);
  close(netlink_socket);
  netlink_socket = open_netlink();
  return (struct answer){0};
}

uint64_t nanoseconds(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
  const uint64_t x = *(const uint64_t *)a;
  const uint64_t y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

uint64_t median(uint64_t *samples, size_t count)
{
  qsort(samples, count, sizeof *samples, compare);
  return samples[count / 2];
}

void fail(const char *what)
{
  printf("error %s: %s\n", what, strerror(errno));
  exit(1);
}

void expect(int error, const char *what)
{
  if (!error) return;
  errno = -error;
  fail(what);
}
