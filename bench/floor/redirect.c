/* What plumb does for a pod by redirect, and its undo: the same reads before and after, the same changes, in as few messages as can be. */
#include "steps.h"

#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/if_ether.h>
#include <linux/neighbour.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

enum { HOOK = 0xffff0000, TAP_PRIORITY = 1, LINK_PRIORITY = 65535 };

static int eth0, tap0;

static void take_link(const struct nlmsghdr *message, void *context)
{
  (void)context;
  const struct rtattr *name = find(message, sizeof(struct ifinfomsg), IFLA_IFNAME);
  if (name && strcmp(RTA_DATA(name), "eth0") == 0) eth0 = ((const struct ifinfomsg *)NLMSG_DATA(message))->ifi_index;
}

static void read_links(visitor *links)
{
  link_message(&steps, RTM_GETLINK, NLM_F_DUMP, 0);
  number(&steps, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  expect(exchange(&steps, 0, links, NULL), "links");
}

static void read_neighbors(void)
{
  read_table(RTM_GETNEIGH, sizeof(struct ndmsg), AF_UNSPEC, NULL);
  struct ndmsg *proxies = begin(&steps, RTM_GETNEIGH, NLM_F_DUMP, sizeof *proxies);
  proxies->ndm_flags = NTF_PROXY;
  expect(exchange(&steps, 0, NULL, NULL), "proxies");
}

static void read_filters(int ifindex)
{
  struct tcmsg *header = begin(&steps, RTM_GETTFILTER, NLM_F_DUMP, sizeof *header);
  *header = (struct tcmsg){.tcm_ifindex = ifindex, .tcm_parent = HOOK};
  expect(exchange(&steps, 0, NULL, NULL), "filters");
}

static void read_before(void)
{
  read_links(take_link);
  read_table(RTM_GETADDR, sizeof(struct ifaddrmsg), AF_UNSPEC, NULL);
  read_table(RTM_GETROUTE, sizeof(struct rtmsg), AF_INET, NULL);
  read_table(RTM_GETROUTE, sizeof(struct rtmsg), AF_INET6, NULL);
  read_table(RTM_GETRULE, sizeof(struct fib_rule_hdr), AF_INET, NULL);
  read_table(RTM_GETRULE, sizeof(struct fib_rule_hdr), AF_INET6, NULL);
  read_neighbors();
  read_table(RTM_GETQDISC, sizeof(struct tcmsg), 0, NULL);
}

static void read_after(void)
{
  read_links(NULL);
  read_neighbors();
  read_table(RTM_GETQDISC, sizeof(struct tcmsg), 0, NULL);
  read_filters(eth0);
  read_filters(tap0);
}

static struct tcmsg *change_traffic(int type, int flags, int ifindex, const char *kind)
{
  expect_answer();
  struct tcmsg *header = begin(&steps, type, NLM_F_ACK | flags, sizeof *header);
  header->tcm_ifindex = ifindex;
  text(&steps, TCA_KIND, kind);
  return header;
}

static void add_ingress(int ifindex)
{
  struct tcmsg *header = change_traffic(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex, "ingress");
  header->tcm_parent = TC_H_INGRESS;
}

/* u32 that matches all, with a mirred redirect. */
static void add_redirect(int from, int to, uint32_t priority)
{
  struct tcmsg *header = change_traffic(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, from, "u32");
  header->tcm_parent = HOOK;
  header->tcm_handle = 1;
  header->tcm_info = TC_H_MAKE(priority << 16, htons(ETH_P_ALL));
  const size_t options = begin_nest(&steps, TCA_OPTIONS);
  struct {
    struct tc_u32_sel selector;
    struct tc_u32_key key;
  } all = {.selector = {.flags = TC_U32_TERMINAL, .nkeys = 1}};
  attribute(&steps, TCA_U32_SEL, &all, sizeof all);
  const size_t actions = begin_nest(&steps, TCA_U32_ACT);
  const size_t action = begin_nest(&steps, 1);
  text(&steps, TCA_ACT_KIND, "mirred");
  attribute(&steps, TCA_ACT_COOKIE, "podtap redirect", 15);
  const size_t body = begin_nest(&steps, TCA_ACT_OPTIONS);
  const struct tc_mirred mirred = {.action = TC_ACT_STOLEN, .eaction = TCA_EGRESS_REDIR, .ifindex = (uint32_t)to};
  attribute(&steps, TCA_MIRRED_PARMS, &mirred, sizeof mirred);
  end_nest(&steps, body);
  end_nest(&steps, action);
  end_nest(&steps, actions);
  end_nest(&steps, options);
}

/* Takes nothing. */
struct answer plumb_redirect(char **words)
{
  (void)words;
  const uint64_t start = nanoseconds();
  read_before();
  tap0 = make_tap();
  set_mac(tap0, (unsigned char[]){0xfe, 0, 0, 0, 0, 1});
  text(&steps, IFLA_IFALIAS, "podtap redirect eth0");
  silent_ipv6(IN6_ADDR_GEN_MODE_NONE);
  bring_up(tap0);
  add_ingress(tap0);
  add_redirect(tap0, eth0, TAP_PRIORITY);
  add_ingress(eth0);
  add_redirect(eth0, tap0, LINK_PRIORITY);
  send_changes("plumb");
  read_after();
  return (struct answer){1, {nanoseconds() - start}};
}

/* What the last `plumb-redirect` did: nanoseconds until eth0 works again, and of the deletion that comes after. */
struct answer unplumb_redirect(char **words)
{
  (void)words;
  const uint64_t start = nanoseconds();
  struct tcmsg *filter = change_traffic(RTM_DELTFILTER, 0, eth0, "u32");
  filter->tcm_parent = HOOK;
  filter->tcm_info = TC_H_MAKE((uint32_t)LINK_PRIORITY << 16, htons(ETH_P_ALL));
  struct tcmsg *qdisc = change_traffic(RTM_DELQDISC, 0, eth0, "ingress");
  qdisc->tcm_parent = TC_H_INGRESS;
  send_changes("unplumb");
  const uint64_t works = nanoseconds();
  change_link(RTM_DELLINK, 0, tap0);
  send_changes("delete");
  return (struct answer){2, {works - start, nanoseconds() - works}};
}
