#include "steps.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct batch steps;

static int acknowledgements;

void expect_answer(void)
{
  acknowledgements++;
}

struct ifinfomsg *change_link(int type, int flags, int ifindex)
{
  expect_answer();
  return link_message(&steps, type, NLM_F_ACK | flags, ifindex);
}

void send_changes(const char *what)
{
  const int expected = acknowledgements;
  acknowledgements = 0;
  expect(exchange(&steps, expected, NULL, NULL), what);
}

void read_table(int type, size_t body, int family, visitor *visit)
{
  unsigned char *header = begin(&steps, type, NLM_F_DUMP, body);
  header[0] = (unsigned char)family;
  expect(exchange(&steps, 0, visit, NULL), "dump");
}

int make_tap(void)
{
  const int tap = open_tap("tap0", 0);
  if (ioctl(tap, TUNSETPERSIST, 1) < 0 || ioctl(tap, TUNSETVNETHDRSZ, &(int){10}) < 0 || ioctl(tap, TUNSETOFFLOAD, 0) < 0) fail("tap0");
  close(tap);
  return index_of(&steps, "tap0");
}

void silent_ipv6(int mode)
{
  const size_t families = begin_nest(&steps, IFLA_AF_SPEC);
  const size_t inet6 = begin_nest(&steps, AF_INET6);
  attribute(&steps, IFLA_INET6_ADDR_GEN_MODE, &(unsigned char){(unsigned char)mode}, 1);
  end_nest(&steps, inet6);
  end_nest(&steps, families);
}

void bring_up(int ifindex)
{
  struct ifinfomsg *link = change_link(RTM_SETLINK, 0, ifindex);
  link->ifi_change = link->ifi_flags = IFF_UP;
}

void set_mac(int ifindex, const unsigned char *mac)
{
  change_link(RTM_SETLINK, 0, ifindex);
  attribute(&steps, IFLA_ADDRESS, mac, 6);
}
