/* What the parts of the floor share: time, failing, and building netlink messages. */
#pragma once

#define _GNU_SOURCE
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>

uint64_t nanoseconds(void);
/* Sorts the samples. */
uint64_t median(uint64_t *samples, size_t count);
/* Prints what failed, with errno, and exits. */
_Noreturn void fail(const char *what);
/* The same, where it was the kernel's answer. */
void expect(int error, const char *what);

/* Messages to be sent at once, one behind the other. */
struct batch {
  size_t length;
  size_t last; /* where the last message begins */
  char bytes[65536];
};

void clear(struct batch *batch);
/* Begins a message; its body is zeroed. */
void *begin(struct batch *batch, int type, int flags, size_t body);
void attribute(struct batch *batch, int type, const void *data, size_t length);
void text(struct batch *batch, int type, const char *string);
void number(struct batch *batch, int type, uint32_t value);
/* Begins a nest; end_nest() takes what this gives. */
size_t begin_nest(struct batch *batch, int type);
void end_nest(struct batch *batch, size_t nest);
/* A struct in a nest, with no attribute around it: the ifinfomsg in VETH_INFO_PEER. */
void append(struct batch *batch, const void *data, size_t length);

/* The socket that every command uses; of the namespace that was entered last. */
extern int netlink_socket;
int open_netlink(void);

typedef void visitor(const struct nlmsghdr *message, void *context);
/* Sends what was built, and clears it. Reads until so many acknowledgements have come, or with 0 until the one answer or the end
 * of the dump has. Returns the first error. */
int exchange(struct batch *batch, int acknowledgements, visitor *visit, void *context);
const struct rtattr *find(const struct nlmsghdr *message, size_t body, int type);

/* One link, as small a message as can be. */
struct ifinfomsg *link_message(struct batch *batch, int type, int flags, int ifindex);
int index_of(struct batch *batch, const char *name);
void create_bridge(struct batch *batch, const char *name);
/* The two ends are `name` and `name` with a p behind; `group` 0 is the default. */
void create_veth(struct batch *batch, const char *name, uint32_t group);
void delete_link(struct batch *batch, const char *name);
void delete_group(struct batch *batch, uint32_t group);
/* A persistent TAP that nobody holds. */
void create_tap(const char *name);
/* The descriptor; -1 and errno. */
int open_tap(const char *name, int flags);

/* A command: its arguments are words, and what it answers is numbers. */
struct answer {
  size_t count;
  uint64_t numbers[4];
};
typedef struct answer command(char **words);

command enter, getlink, updown, address, mac, change, tap, veth, bridge, pod, plumb, unplumb;
command plumb_redirect, unplumb_redirect, packets;
command dump_routes, dump_neighbors, dump_links, fill_routes, fill_neighbors, fill_links;
command fill_tap, echo_frames, burst, churn, overlay;
