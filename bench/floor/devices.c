/* Making and deleting devices, one by one; and what a pod gets. */
#include "floor.h"

#include <linux/neighbour.h>
#include <linux/fib_rules.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct batch batch;

static void one(const char *what)
{
  expect(exchange(&batch, 1, NULL, NULL), what);
}

enum kind { TAP, VETH, BRIDGE };

/* Takes how many; answers the medians of creating and of deleting. */
static struct answer create_and_delete(char **words, enum kind kind)
{
  const unsigned count = (unsigned)atoi(words[0]);
  uint64_t *created = calloc(count, sizeof *created);
  uint64_t *deleted = calloc(count, sizeof *deleted);
  char name[16];
  for (unsigned i = 0; i < count; i++) {
    snprintf(name, sizeof name, "floor%u", i);
    const uint64_t start = nanoseconds();
    if (kind == TAP) create_tap(name);
    else {
      if (kind == VETH) create_veth(&batch, name, 0);
      else create_bridge(&batch, name);
      one(name);
    }
    created[i] = nanoseconds() - start;
  }
  for (unsigned i = 0; i < count; i++) {
    snprintf(name, sizeof name, "floor%u", i);
    const uint64_t start = nanoseconds();
    delete_link(&batch, name);
    one(name);
    deleted[i] = nanoseconds() - start;
  }
  const struct answer answer = {2, {median(created, count), median(deleted, count)}};
  free(created);
  free(deleted);
  return answer;
}

struct answer tap(char **words) { return create_and_delete(words, TAP); }
struct answer veth(char **words) { return create_and_delete(words, VETH); }
struct answer bridge(char **words) { return create_and_delete(words, BRIDGE); }

struct pod {
  int ifindex;
  unsigned char mac[6];
  uint32_t address;
  unsigned char prefix;
};

static void take_link(const struct nlmsghdr *message, void *context)
{
  struct pod *pod = context;
  pod->ifindex = ((const struct ifinfomsg *)NLMSG_DATA(message))->ifi_index;
  const struct rtattr *mac = find(message, sizeof(struct ifinfomsg), IFLA_ADDRESS);
  if (mac) memcpy(pod->mac, RTA_DATA(mac), sizeof pod->mac);
}

static void take_address(const struct nlmsghdr *message, void *context)
{
  struct pod *pod = context;
  const struct ifaddrmsg *header = NLMSG_DATA(message);
  const struct rtattr *local = find(message, sizeof *header, IFA_LOCAL);
  if (header->ifa_family != AF_INET || !local) return;
  memcpy(&pod->address, RTA_DATA(local), sizeof pod->address);
  pod->prefix = header->ifa_prefixlen;
}

/* The first byte of the body of every dump's request is the address family. */
static void read_table(int type, size_t body, int family, int index_at, int ifindex, visitor *visit, void *context)
{
  unsigned char *header = begin(&batch, type, NLM_F_DUMP, body);
  header[0] = (unsigned char)family;
  if (ifindex) memcpy(header + index_at, &ifindex, sizeof ifindex);
  expect(exchange(&batch, 0, visit, context), "dump");
}

static void set_master(int ifindex, int master)
{
  struct ifinfomsg *link = link_message(&batch, RTM_SETLINK, NLM_F_ACK, ifindex);
  link->ifi_change = link->ifi_flags = IFF_UP;
  number(&batch, IFLA_MASTER, (uint32_t)master);
  one("IFLA_MASTER");
}

/* What readAddr, createTap, deleteAddress, bridgeEnslave and cloneMac read and change, in the namespace that was entered. */
struct answer pod(char **words)
{
  (void)words;
  const uint64_t start = nanoseconds();
  struct pod eth0 = {0};
  link_message(&batch, RTM_GETLINK, 0, 0);
  text(&batch, IFLA_IFNAME, "eth0");
  number(&batch, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  expect(exchange(&batch, 0, take_link, &eth0), "eth0");
  read_table(RTM_GETADDR, sizeof(struct ifaddrmsg), AF_UNSPEC, offsetof(struct ifaddrmsg, ifa_index), eth0.ifindex, take_address, &eth0);
  read_table(RTM_GETROUTE, sizeof(struct rtmsg), AF_INET, 0, 0, NULL, NULL);
  read_table(RTM_GETROUTE, sizeof(struct rtmsg), AF_INET6, 0, 0, NULL, NULL);
  read_table(RTM_GETRULE, sizeof(struct fib_rule_hdr), AF_INET, 0, 0, NULL, NULL);
  read_table(RTM_GETRULE, sizeof(struct fib_rule_hdr), AF_INET6, 0, 0, NULL, NULL);
  read_table(RTM_GETNEIGH, sizeof(struct ndmsg), AF_UNSPEC, 0, 0, NULL, NULL);

  create_tap("tap100");
  const int tap = index_of(&batch, "tap100");

  struct ifaddrmsg *address = begin(&batch, RTM_DELADDR, NLM_F_ACK, sizeof *address);
  address->ifa_family = AF_INET;
  address->ifa_prefixlen = eth0.prefix;
  address->ifa_index = (unsigned)eth0.ifindex;
  attribute(&batch, IFA_LOCAL, &eth0.address, sizeof eth0.address);
  one("RTM_DELADDR");

  create_bridge(&batch, "br0");
  one("br0");
  const int bridge = index_of(&batch, "br0");
  set_master(eth0.ifindex, bridge);
  set_master(tap, bridge);
  struct ifinfomsg *link = link_message(&batch, RTM_SETLINK, NLM_F_ACK, bridge);
  link->ifi_change = link->ifi_flags = IFF_UP;
  one("br0 up");

  static const unsigned char fresh[] = {2, 0, 0, 0, 2, 1};
  link_message(&batch, RTM_SETLINK, NLM_F_ACK, eth0.ifindex);
  attribute(&batch, IFLA_ADDRESS, fresh, sizeof fresh);
  one("IFLA_ADDRESS");
  return (struct answer){1, {nanoseconds() - start}};
}
