/* What plumb does for a pod by bridge, and its undo: the same reads before and after, the same changes, in as few messages as can be. */
#include "steps.h"

#include <linux/fib_rules.h>
#include <linux/if_bridge.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BRIDGE_INDEX = 90001 };

struct address {
  unsigned char family, prefix, flags;
  unsigned char bytes[16];
};

/* What is read of the pod, and needed to put it back. One pod at a time. */
static struct {
  int eth0, tap;
  unsigned char mac[6];
  struct address addresses[8];
  size_t count;
} pod_;

static void take_link(const struct nlmsghdr *message, void *context)
{
  (void)context;
  const struct rtattr *name = find(message, sizeof(struct ifinfomsg), IFLA_IFNAME);
  if (!name || strcmp(RTA_DATA(name), "eth0") != 0) return;
  pod_.eth0 = ((const struct ifinfomsg *)NLMSG_DATA(message))->ifi_index;
  memcpy(pod_.mac, RTA_DATA(find(message, sizeof(struct ifinfomsg), IFLA_ADDRESS)), 6);
}

static void take_address(const struct nlmsghdr *message, void *context)
{
  (void)context;
  const struct ifaddrmsg *header = NLMSG_DATA(message);
  const struct rtattr *own = find(message, sizeof *header, header->ifa_family == AF_INET ? IFA_LOCAL : IFA_ADDRESS);
  if ((int)header->ifa_index != pod_.eth0 || !own || pod_.count == 8) return;
  struct address *address = &pod_.addresses[pod_.count++];
  *address = (struct address){.family = header->ifa_family, .prefix = header->ifa_prefixlen, .flags = header->ifa_flags};
  memcpy(address->bytes, RTA_DATA(own), RTA_PAYLOAD(own));
}

static void read_all(visitor *links, visitor *addresses)
{
  link_message(&steps, RTM_GETLINK, NLM_F_DUMP, 0);
  number(&steps, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  expect(exchange(&steps, 0, links, NULL), "links");
  read_table(RTM_GETADDR, sizeof(struct ifaddrmsg), AF_UNSPEC, addresses);
  read_table(RTM_GETROUTE, sizeof(struct rtmsg), AF_INET, NULL);
  read_table(RTM_GETROUTE, sizeof(struct rtmsg), AF_INET6, NULL);
  read_table(RTM_GETRULE, sizeof(struct fib_rule_hdr), AF_INET, NULL);
  read_table(RTM_GETRULE, sizeof(struct fib_rule_hdr), AF_INET6, NULL);
  read_table(RTM_GETNEIGH, sizeof(struct ndmsg), AF_UNSPEC, NULL);
  struct ndmsg *proxies = begin(&steps, RTM_GETNEIGH, NLM_F_DUMP, sizeof *proxies);
  proxies->ndm_flags = NTF_PROXY;
  expect(exchange(&steps, 0, NULL, NULL), "proxies");
  read_table(RTM_GETNEIGH, sizeof(struct ndmsg), AF_BRIDGE, NULL);
}

static void make_bridge(void)
{
  change_link(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, BRIDGE_INDEX);
  text(&steps, IFLA_IFNAME, "br0");
  attribute(&steps, IFLA_ADDRESS, (unsigned char[]){2, 0, 0, 0, 3, 1}, 6);
  const size_t info = begin_nest(&steps, IFLA_LINKINFO);
  text(&steps, IFLA_INFO_KIND, "bridge");
  const size_t data = begin_nest(&steps, IFLA_INFO_DATA);
  number(&steps, IFLA_BR_FORWARD_DELAY, 0);
  number(&steps, IFLA_BR_STP_STATE, 0);
  static const int off[] = {IFLA_BR_MCAST_SNOOPING, IFLA_BR_NF_CALL_IPTABLES, IFLA_BR_NF_CALL_IP6TABLES, IFLA_BR_NF_CALL_ARPTABLES};
  for (size_t i = 0; i < sizeof off / sizeof *off; i++) attribute(&steps, off[i], &(unsigned char){0}, 1);
  end_nest(&steps, data);
  end_nest(&steps, info);
  change_link(RTM_SETLINK, 0, BRIDGE_INDEX);
  number(&steps, IFLA_MTU, 1279);
}

static void no_learning(int ifindex)
{
  change_link(RTM_NEWLINK, 0, ifindex);
  const size_t info = begin_nest(&steps, IFLA_LINKINFO);
  text(&steps, IFLA_INFO_SLAVE_KIND, "bridge");
  const size_t data = begin_nest(&steps, IFLA_INFO_SLAVE_DATA);
  attribute(&steps, IFLA_BRPORT_LEARNING, &(unsigned char){0}, 1);
  end_nest(&steps, data);
  end_nest(&steps, info);
}

static void set_master(int ifindex, uint32_t master)
{
  change_link(RTM_SETLINK, 0, ifindex);
  number(&steps, IFLA_MASTER, master);
}

static void address_message(int type, int flags, const struct address *address)
{
  expect_answer();
  struct ifaddrmsg *header = begin(&steps, type, NLM_F_ACK | flags, sizeof *header);
  *header = (struct ifaddrmsg){.ifa_family = address->family, .ifa_prefixlen = address->prefix, .ifa_index = (unsigned)pod_.eth0, .ifa_flags = address->flags};
  attribute(&steps, IFA_LOCAL, address->bytes, address->family == AF_INET ? 4 : 16);
}

/* Takes nothing; the pod's eth0 has addresses and a default route by 10.1.0.1. */
struct answer plumb(char **words)
{
  (void)words;
  const uint64_t start = nanoseconds();
  pod_.count = 0;
  read_all(take_link, take_address);
  pod_.tap = make_tap();
  set_mac(pod_.tap, (unsigned char[]){0xfe, 0, 0, 0, 0, 1});
  text(&steps, IFLA_IFALIAS, "podtap bridge eth0");
  silent_ipv6(IN6_ADDR_GEN_MODE_NONE);
  make_bridge();
  text(&steps, IFLA_IFALIAS, "podtap bridge eth0");
  change_link(RTM_SETLINK, 0, pod_.eth0);
  silent_ipv6(IN6_ADDR_GEN_MODE_NONE);
  for (size_t i = 0; i < pod_.count; i++) address_message(RTM_DELADDR, 0, &pod_.addresses[i]);
  set_mac(pod_.eth0, (unsigned char[]){2, 0, 0, 0, 2, 1});
  set_master(pod_.eth0, BRIDGE_INDEX);
  no_learning(pod_.eth0);
  set_master(pod_.tap, BRIDGE_INDEX);
  no_learning(pod_.tap);
  expect_answer();
  struct ndmsg *entry = begin(&steps, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, sizeof *entry);
  *entry = (struct ndmsg){.ndm_family = AF_BRIDGE, .ndm_ifindex = pod_.tap, .ndm_state = NUD_NOARP | NUD_REACHABLE, .ndm_flags = NTF_MASTER};
  attribute(&steps, NDA_LLADDR, pod_.mac, 6);
  bring_up(pod_.tap);
  bring_up(BRIDGE_INDEX);
  send_changes("plumb");
  read_all(NULL, NULL);
  return (struct answer){1, {nanoseconds() - start}};
}

/* What the last `plumb` did: nanoseconds until eth0 works again, and of the deletion that comes after. */
struct answer unplumb(char **words)
{
  (void)words;
  const uint64_t start = nanoseconds();
  set_master(pod_.eth0, 0);
  set_mac(pod_.eth0, pod_.mac);
  /* IPv6 addresses are told newest first. */
  for (size_t i = pod_.count; i-- > 0;) {
    struct address address = pod_.addresses[i];
    if (address.family == AF_INET6) address.flags |= IFA_F_NODAD;
    address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &address);
  }
  expect_answer();
  struct rtmsg *route = begin(&steps, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof *route);
  *route = (struct rtmsg){.rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_BOOT, .rtm_type = RTN_UNICAST};
  attribute(&steps, RTA_GATEWAY, (unsigned char[]){10, 1, 0, 1}, 4);
  for (size_t i = 0; i < pod_.count; i++)
    if (pod_.addresses[i].family == AF_INET6) address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &pod_.addresses[i]);
  change_link(RTM_SETLINK, 0, pod_.eth0);
  silent_ipv6(IN6_ADDR_GEN_MODE_EUI64);
  send_changes("unplumb");
  const uint64_t works = nanoseconds();
  change_link(RTM_SETLINK, 0, pod_.tap);
  number(&steps, IFLA_GROUP, 99);
  change_link(RTM_SETLINK, 0, BRIDGE_INDEX);
  number(&steps, IFLA_GROUP, 99);
  send_changes("group");
  delete_group(&steps, 99);
  expect(exchange(&steps, 1, NULL, NULL), "delete");
  return (struct answer){2, {works - start, nanoseconds() - works}};
}
