/* A node of an overlay: a VXLAN device, and for each other node a neighbour, a forwarding entry and a route. */
#include "floor.h"

#include <arpa/inet.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct batch batch;

static void one(const char *what)
{
  expect(exchange(&batch, 1, NULL, NULL), what);
}

static int create_vxlan(int underlay)
{
  link_message(&batch, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, 0);
  text(&batch, IFLA_IFNAME, "flannel.1");
  number(&batch, IFLA_MTU, 1450);
  const size_t info = begin_nest(&batch, IFLA_LINKINFO);
  text(&batch, IFLA_INFO_KIND, "vxlan");
  const size_t data = begin_nest(&batch, IFLA_INFO_DATA);
  number(&batch, IFLA_VXLAN_ID, 1);
  number(&batch, IFLA_VXLAN_LINK, (uint32_t)underlay);
  attribute(&batch, IFLA_VXLAN_LEARNING, &(uint8_t){0}, 1);
  attribute(&batch, IFLA_VXLAN_PORT, &(uint16_t){htons(8472)}, 2);
  end_nest(&batch, data);
  end_nest(&batch, info);
  one("vxlan");
  const int ifindex = index_of(&batch, "flannel.1");
  struct ifinfomsg *link = link_message(&batch, RTM_SETLINK, NLM_F_ACK, ifindex);
  link->ifi_change = link->ifi_flags = IFF_UP;
  one("up");
  struct ifaddrmsg *address = begin(&batch, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof *address);
  address->ifa_family = AF_INET;
  address->ifa_prefixlen = 32;
  address->ifa_index = (unsigned)ifindex;
  number(&batch, IFA_LOCAL, htonl(0x0afa0000));
  one("address");
  return ifindex;
}

static uint32_t subnet(uint32_t node)
{
  return htonl(0x0af00000 + (node << 8));
}

static void set_neighbor(int ifindex, uint32_t node, const unsigned char *mac)
{
  struct ndmsg *neighbor = begin(&batch, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, sizeof *neighbor);
  *neighbor = (struct ndmsg){.ndm_family = AF_INET, .ndm_ifindex = ifindex, .ndm_state = NUD_PERMANENT};
  number(&batch, NDA_DST, subnet(node));
  attribute(&batch, NDA_LLADDR, mac, 6);
}

static void forward(int type, int flags, int ifindex, uint32_t node, const unsigned char *mac)
{
  struct ndmsg *entry = begin(&batch, type, NLM_F_ACK | flags, sizeof *entry);
  *entry = (struct ndmsg){.ndm_family = AF_BRIDGE, .ndm_ifindex = ifindex, .ndm_state = NUD_PERMANENT | NUD_NOARP, .ndm_flags = NTF_SELF};
  number(&batch, NDA_DST, htonl(0xc0a10100 + node));
  attribute(&batch, NDA_LLADDR, mac, 6);
}

static void add_route(int ifindex, uint32_t node)
{
  struct rtmsg *route = begin(&batch, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof *route);
  *route = (struct rtmsg){.rtm_family = AF_INET, .rtm_dst_len = 24, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC, .rtm_type = RTN_UNICAST, .rtm_flags = RTNH_F_ONLINK};
  number(&batch, RTA_DST, subnet(node));
  number(&batch, RTA_GATEWAY, subnet(node));
  number(&batch, RTA_OIF, (uint32_t)ifindex);
}

/* What is there is read before anything is changed: routes, neighbours, forwarding entries of the device. */
static void read_all(int ifindex)
{
  struct rtmsg *routes = begin(&batch, RTM_GETROUTE, NLM_F_DUMP, sizeof *routes);
  routes->rtm_family = AF_INET;
  number(&batch, RTA_TABLE, RT_TABLE_MAIN);
  number(&batch, RTA_OIF, (uint32_t)ifindex);
  expect(exchange(&batch, 0, NULL, NULL), "routes");
  static const unsigned char families[] = {AF_INET, AF_BRIDGE};
  for (size_t i = 0; i < 2; i++) {
    struct ndmsg *header = begin(&batch, RTM_GETNEIGH, NLM_F_DUMP, sizeof *header);
    header->ndm_family = families[i];
    number(&batch, NDA_IFINDEX, (uint32_t)ifindex);
    expect(exchange(&batch, 0, NULL, NULL), "neighbours");
  }
}

enum { NODES_AT_ONCE = 33, CHANGES = 5 };

/* Takes the underlay's ifindex and how many other nodes there are; answers the time for joining, and for following one that changed. */
struct answer overlay(char **words)
{
  const int underlay = atoi(words[0]);
  const uint32_t count = (uint32_t)atoi(words[1]);
  const uint64_t start = nanoseconds();
  const int ifindex = create_vxlan(underlay);
  read_all(ifindex);
  int pending = 0;
  for (uint32_t node = 0; node < count; node++) {
    const unsigned char mac[] = {2, 0, 0, 0, (unsigned char)(node >> 8), (unsigned char)node};
    set_neighbor(ifindex, node, mac);
    forward(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ifindex, node, mac);
    add_route(ifindex, node);
    pending += 3;
    if (pending == 3 * NODES_AT_ONCE || node + 1 == count) {
      expect(exchange(&batch, pending, NULL, NULL), "nodes");
      pending = 0;
    }
  }
  const uint64_t joined = nanoseconds() - start;

  uint64_t changed[CHANGES];
  unsigned char old[] = {2, 0, 0, 0, 0, 7};
  for (unsigned i = 0; i < CHANGES; i++) {
    const unsigned char mac[] = {2, 0, 0, 1, 0, (unsigned char)i};
    const uint64_t begun = nanoseconds();
    read_all(ifindex);
    set_neighbor(ifindex, 7, mac);
    forward(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, ifindex, 7, mac);
    forward(RTM_DELNEIGH, 0, ifindex, 7, old);
    expect(exchange(&batch, 3, NULL, NULL), "change");
    changed[i] = nanoseconds() - begun;
    memcpy(old, mac, sizeof old);
  }
  delete_link(&batch, "flannel.1");
  one("delete");
  return (struct answer){2, {joined, median(changed, CHANGES)}};
}
