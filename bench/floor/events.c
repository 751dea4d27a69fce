/* What makes the kernel talk, and what makes it busy. */
#include "floor.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct batch batch;

enum { GROUP = 77, BUFFER = 256 << 20, SETTLE = 50000 /* microseconds */ };

static void one(const char *what)
{
  expect(exchange(&batch, 1, NULL, NULL), what);
}

static int subscribe(void)
{
  /* Links, neighbours, IPv4 addresses, IPv4 routes, rules; IPv6 addresses, routes, rules: what podtap's watch() listens to. */
  static const int groups[] = {RTNLGRP_LINK,        RTNLGRP_NEIGH,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE,
                               RTNLGRP_IPV4_RULE,   RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV6_RULE};
  const int listener = open_netlink();
  /* One that is not bound is port 0, which the kernel takes for itself, and tells nothing. */
  const struct sockaddr_nl own = {.nl_family = AF_NETLINK};
  if (bind(listener, (const struct sockaddr *)&own, sizeof own) < 0) fail("bind");
  if (setsockopt(listener, SOL_SOCKET, SO_RCVBUFFORCE, &(int){BUFFER}, sizeof(int)) < 0)
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &(int){BUFFER}, sizeof(int));
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    if (setsockopt(listener, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, groups + i, sizeof *groups) < 0) fail("group");
  return listener;
}

/* Returns how many events there were; adds to `lost` when some were not kept. */
static uint64_t drain(int listener, uint64_t *lost)
{
  static char buffer[65536];
  uint64_t count = 0;
  for (;;) {
    ssize_t length = recv(listener, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length < 0 && errno == ENOBUFS) (*lost)++;
    else if (length < 0) return count;
    for (struct nlmsghdr *each = (struct nlmsghdr *)buffer; NLMSG_OK(each, length); each = NLMSG_NEXT(each, length)) count++;
  }
}

/* Takes how many pairs of veth: each is made, brought up, given an address; then all are deleted at once.
 * Answers how many events that gave, whether that number is too small, and the time it took. */
struct answer burst(char **words)
{
  const unsigned pairs = (unsigned)atoi(words[0]);
  const int listener = subscribe();
  uint64_t lost = 0;
  uint64_t events = 0;
  const uint64_t start = nanoseconds();
  for (unsigned i = 0; i < pairs; i++) {
    char name[16];
    snprintf(name, sizeof name, "e%u", i);
    create_veth(&batch, name, GROUP);
    one(name);
    const int ifindex = (int)if_nametoindex(name);
    struct ifinfomsg *link = link_message(&batch, RTM_SETLINK, NLM_F_ACK, ifindex);
    link->ifi_change = link->ifi_flags = IFF_UP;
    one("up");
    struct ifaddrmsg *address = begin(&batch, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE, sizeof *address);
    address->ifa_family = AF_INET;
    address->ifa_prefixlen = 24;
    address->ifa_index = (unsigned)ifindex;
    const unsigned char ip[] = {10, (unsigned char)(100 + (i >> 8)), (unsigned char)i, 1};
    attribute(&batch, IFA_LOCAL, ip, sizeof ip);
    one("address");
  }
  delete_group(&batch, GROUP);
  one("group");
  const uint64_t taken = nanoseconds() - start;
  usleep(SETTLE);
  events += drain(listener, &lost);
  close(listener);
  return (struct answer){3, {events, lost, taken}};
}

/* Takes milliseconds: makes and deletes pairs of veth, which holds RTNL most of that time. Answers how many it made. */
struct answer churn(char **words)
{
  const uint64_t until = nanoseconds() + (uint64_t)atoi(words[0]) * 1000000u;
  uint64_t made = 0;
  while (nanoseconds() < until) {
    for (unsigned i = 0; i < 20; i++) {
      char name[16];
      snprintf(name, sizeof name, "c%u", i);
      create_veth(&batch, name, GROUP);
      one(name);
      made++;
    }
    delete_group(&batch, GROUP);
    one("group");
  }
  return (struct answer){1, {made}};
}
