/* Large tables: filling them, and receiving them without a look at what is in them. */
#include "floor.h"

#include <arpa/inet.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct batch batch;

static void count_message(const struct nlmsghdr *message, void *count)
{
  (void)message;
  (*(uint64_t *)count)++;
}

/* Answers the time, and how many there were. */
static struct answer receive(void)
{
  uint64_t count = 0;
  const uint64_t start = nanoseconds();
  expect(exchange(&batch, 0, count_message, &count), "dump");
  return (struct answer){2, {nanoseconds() - start, count}};
}

struct answer dump_routes(char **words)
{
  (void)words;
  struct rtmsg *header = begin(&batch, RTM_GETROUTE, NLM_F_DUMP, sizeof *header);
  header->rtm_family = AF_INET;
  number(&batch, RTA_TABLE, RT_TABLE_MAIN);
  return receive();
}

struct answer dump_neighbors(char **words)
{
  (void)words;
  struct ndmsg *header = begin(&batch, RTM_GETNEIGH, NLM_F_DUMP, sizeof *header);
  header->ndm_family = AF_INET;
  return receive();
}

struct answer dump_links(char **words)
{
  (void)words;
  link_message(&batch, RTM_GETLINK, NLM_F_DUMP, 0);
  number(&batch, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  return receive();
}

/* A hundred requests at a time: their acknowledgements fit the socket's buffer. */
enum { AT_ONCE = 100 };

static void flush(unsigned *pending)
{
  if (*pending) expect(exchange(&batch, (int)*pending, NULL, NULL), "fill");
  *pending = 0;
}

/* Takes an ifindex and how many: host routes from 20.0.0.0 on. */
struct answer fill_routes(char **words)
{
  const uint32_t ifindex = (uint32_t)atoi(words[0]);
  const uint32_t count = (uint32_t)atoi(words[1]);
  unsigned pending = 0;
  for (uint32_t i = 0; i < count; i++) {
    struct rtmsg *route = begin(&batch, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof *route);
    *route = (struct rtmsg){.rtm_family = AF_INET, .rtm_dst_len = 32, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC, .rtm_type = RTN_UNICAST};
    number(&batch, RTA_DST, htonl((20u << 24) + i));
    number(&batch, RTA_OIF, ifindex);
    number(&batch, RTA_GATEWAY, htonl((10u << 24) + 2 + (i & 7)));
    if (++pending == AT_ONCE) flush(&pending);
  }
  flush(&pending);
  return (struct answer){0};
}

/* Takes an ifindex and how many: from 30.0.0.0 on. Permanent ones do not count against the limits of the table. */
struct answer fill_neighbors(char **words)
{
  const int ifindex = atoi(words[0]);
  const uint32_t count = (uint32_t)atoi(words[1]);
  unsigned pending = 0;
  for (uint32_t i = 0; i < count; i++) {
    struct ndmsg *neighbor = begin(&batch, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof *neighbor);
    neighbor->ndm_family = AF_INET;
    neighbor->ndm_ifindex = ifindex;
    neighbor->ndm_state = NUD_PERMANENT;
    number(&batch, NDA_DST, htonl((30u << 24) + i));
    const unsigned char mac[] = {2, 0, 0, (unsigned char)(i >> 16), (unsigned char)(i >> 8), (unsigned char)i};
    attribute(&batch, NDA_LLADDR, mac, sizeof mac);
    if (++pending == AT_ONCE) flush(&pending);
  }
  flush(&pending);
  return (struct answer){0};
}

/* Takes a group and how many pairs of veth; with 0 pairs it deletes the group. */
struct answer fill_links(char **words)
{
  const uint32_t group = (uint32_t)atoi(words[0]);
  const uint32_t count = (uint32_t)atoi(words[1]);
  if (count == 0) {
    delete_group(&batch, group);
    expect(exchange(&batch, 1, NULL, NULL), "group");
  }
  for (uint32_t i = 0; i < count; i++) {
    char name[16];
    snprintf(name, sizeof name, "l%u", i);
    create_veth(&batch, name, group);
    expect(exchange(&batch, 1, NULL, NULL), name);
  }
  return (struct answer){0};
}
