/* Single requests, and many in one send. Each command takes an ifindex and how often, and answers the median. */
#include "floor.h"

#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct batch batch;

typedef void operation(int ifindex, unsigned number);

static struct answer repeat(char **words, operation *run)
{
  const int ifindex = atoi(words[0]);
  const size_t count = (size_t)atoi(words[1]);
  uint64_t *samples = calloc(count, sizeof *samples);
  for (unsigned i = 0; i < count; i++) {
    const uint64_t start = nanoseconds();
    run(ifindex, i);
    samples[i] = nanoseconds() - start;
  }
  const uint64_t result = median(samples, count);
  free(samples);
  return (struct answer){1, {result}};
}

static void get(int ifindex, unsigned n)
{
  (void)n;
  link_message(&batch, RTM_GETLINK, 0, ifindex);
  number(&batch, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  expect(exchange(&batch, 0, NULL, NULL), "RTM_GETLINK");
}

static void set_up(int ifindex, unsigned up)
{
  struct ifinfomsg *link = link_message(&batch, RTM_SETLINK, NLM_F_ACK, ifindex);
  link->ifi_change = IFF_UP;
  link->ifi_flags = up ? IFF_UP : 0;
  expect(exchange(&batch, 1, NULL, NULL), "RTM_SETLINK");
}

static void set_up_and_down(int ifindex, unsigned n)
{
  (void)n;
  set_up(ifindex, 1);
  set_up(ifindex, 0);
}

static void address_message(int type, int flags, int ifindex, const unsigned char *ip)
{
  struct ifaddrmsg *message = begin(&batch, type, flags, sizeof *message);
  message->ifa_family = AF_INET;
  message->ifa_prefixlen = 24;
  message->ifa_index = (unsigned)ifindex;
  attribute(&batch, IFA_LOCAL, ip, 4);
  attribute(&batch, IFA_ADDRESS, ip, 4);
  expect(exchange(&batch, 1, NULL, NULL), "address");
}

static void add_and_delete(int ifindex, unsigned n)
{
  (void)n;
  static const unsigned char ip[] = {10, 99, 0, 1};
  address_message(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, ifindex, ip);
  address_message(RTM_DELADDR, NLM_F_ACK, ifindex, ip);
}

static void set_mac(int ifindex, unsigned n)
{
  const unsigned char address[] = {2, 0, 0, 0, 1, (unsigned char)(n & 1)};
  link_message(&batch, RTM_SETLINK, NLM_F_ACK, ifindex);
  attribute(&batch, IFLA_ADDRESS, address, sizeof address);
  expect(exchange(&batch, 1, NULL, NULL), "RTM_SETLINK");
}

struct answer getlink(char **words) { return repeat(words, get); }
struct answer updown(char **words) { return repeat(words, set_up_and_down); }
struct answer address(char **words) { return repeat(words, add_and_delete); }
struct answer mac(char **words) { return repeat(words, set_mac); }

enum { CHANGES = 100 };

static void change_many(int ifindex, unsigned n)
{
  (void)n;
  for (uint32_t i = 0; i < CHANGES; i++) {
    link_message(&batch, RTM_SETLINK, NLM_F_ACK, ifindex);
    number(&batch, IFLA_TXQLEN, 1000 + (i & 1));
  }
  expect(exchange(&batch, CHANGES, NULL, NULL), "RTM_SETLINK");
}

struct answer change(char **words) { return repeat(words, change_many); }
