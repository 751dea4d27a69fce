/* Messages, and one exchange of them. */
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int open_netlink(void)
{
  const int socket_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (socket_ < 0) fail("socket");
  static const int options[] = {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK};
  for (size_t i = 0; i < 3; i++) setsockopt(socket_, SOL_NETLINK, options[i], &(int){1}, sizeof(int));
  return socket_;
}

static struct nlmsghdr *last(struct batch *batch)
{
  return (struct nlmsghdr *)(batch->bytes + batch->last);
}

void clear(struct batch *batch)
{
  batch->length = 0;
}

void append(struct batch *batch, const void *data, size_t length)
{
  memcpy(batch->bytes + batch->length, data, length);
  memset(batch->bytes + batch->length + length, 0, NLMSG_ALIGN(length) - length);
  batch->length += NLMSG_ALIGN(length);
  last(batch)->nlmsg_len = (uint32_t)(batch->length - batch->last);
}

void *begin(struct batch *batch, int type, int flags, size_t body)
{
  static uint32_t sequence;
  batch->last = batch->length;
  *last(batch) = (struct nlmsghdr){.nlmsg_type = (uint16_t)type, .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST), .nlmsg_seq = ++sequence};
  batch->length += NLMSG_HDRLEN;
  static const char zeros[64];
  append(batch, zeros, body);
  return NLMSG_DATA(last(batch));
}

void attribute(struct batch *batch, int type, const void *data, size_t length)
{
  const struct rtattr header = {.rta_len = (uint16_t)RTA_LENGTH(length), .rta_type = (uint16_t)type};
  append(batch, &header, sizeof header);
  append(batch, data, length);
}

void text(struct batch *batch, int type, const char *string)
{
  attribute(batch, type, string, strlen(string) + 1);
}

void number(struct batch *batch, int type, uint32_t value)
{
  attribute(batch, type, &value, sizeof value);
}

size_t begin_nest(struct batch *batch, int type)
{
  const size_t nest = batch->length;
  attribute(batch, type | NLA_F_NESTED, NULL, 0);
  return nest;
}

void end_nest(struct batch *batch, size_t nest)
{
  ((struct rtattr *)(batch->bytes + nest))->rta_len = (uint16_t)(batch->length - nest);
}

int exchange(struct batch *batch, int acknowledgements, visitor *visit, void *context)
{
  static char answer[32768];
  if (send(netlink_socket, batch->bytes, batch->length, 0) < 0) return -errno;
  clear(batch);
  int error = 0;
  for (;;) {
    ssize_t length = recv(netlink_socket, answer, sizeof answer, 0);
    if (length < 0) return -errno;
    for (struct nlmsghdr *message = (struct nlmsghdr *)answer; NLMSG_OK(message, length); message = NLMSG_NEXT(message, length)) {
      if (message->nlmsg_type == NLMSG_DONE) return error;
      if (message->nlmsg_type == NLMSG_ERROR) {
        if (!error) error = ((struct nlmsgerr *)NLMSG_DATA(message))->error;
        if (--acknowledgements <= 0) return error;
        continue;
      }
      if (visit) visit(message, context);
      if (!(message->nlmsg_flags & NLM_F_MULTI) && acknowledgements == 0) return error;
    }
  }
}

const struct rtattr *find(const struct nlmsghdr *message, size_t body, int type)
{
  const struct rtattr *each = (const struct rtattr *)((const char *)message + NLMSG_SPACE(body));
  ssize_t length = (ssize_t)message->nlmsg_len - (ssize_t)NLMSG_SPACE(body);
  for (; RTA_OK(each, length); each = RTA_NEXT(each, length))
    if ((each->rta_type & NLA_TYPE_MASK) == type) return each;
  return NULL;
}

struct ifinfomsg *link_message(struct batch *batch, int type, int flags, int ifindex)
{
  struct ifinfomsg *link = begin(batch, type, flags, sizeof *link);
  link->ifi_index = ifindex;
  return link;
}

static void take_index(const struct nlmsghdr *message, void *index)
{
  *(int *)index = ((const struct ifinfomsg *)NLMSG_DATA(message))->ifi_index;
}

int index_of(struct batch *batch, const char *name)
{
  int index = 0;
  link_message(batch, RTM_GETLINK, 0, 0);
  text(batch, IFLA_IFNAME, name);
  number(batch, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  expect(exchange(batch, 0, take_index, &index), name);
  return index;
}

void create_bridge(struct batch *batch, const char *name)
{
  link_message(batch, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, 0);
  text(batch, IFLA_IFNAME, name);
  const size_t info = begin_nest(batch, IFLA_LINKINFO);
  text(batch, IFLA_INFO_KIND, "bridge");
  end_nest(batch, info);
}

void create_veth(struct batch *batch, const char *name, uint32_t group)
{
  char peer[32];
  snprintf(peer, sizeof peer, "%sp", name);
  link_message(batch, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, 0);
  text(batch, IFLA_IFNAME, name);
  if (group) number(batch, IFLA_GROUP, group);
  const size_t info = begin_nest(batch, IFLA_LINKINFO);
  text(batch, IFLA_INFO_KIND, "veth");
  const size_t data = begin_nest(batch, IFLA_INFO_DATA);
  const size_t end = begin_nest(batch, VETH_INFO_PEER);
  append(batch, &(struct ifinfomsg){0}, sizeof(struct ifinfomsg));
  text(batch, IFLA_IFNAME, peer);
  if (group) number(batch, IFLA_GROUP, group);
  end_nest(batch, end);
  end_nest(batch, data);
  end_nest(batch, info);
}

void delete_link(struct batch *batch, const char *name)
{
  link_message(batch, RTM_DELLINK, NLM_F_ACK, 0);
  text(batch, IFLA_IFNAME, name);
}

void delete_group(struct batch *batch, uint32_t group)
{
  link_message(batch, RTM_DELLINK, NLM_F_ACK, 0);
  number(batch, IFLA_GROUP, group);
}

int open_tap(const char *name, int flags)
{
  const int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | flags);
  struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (tap < 0 || ioctl(tap, TUNSETIFF, &request) < 0) fail("TUNSETIFF");
  return tap;
}

void create_tap(const char *name)
{
  const int tap = open_tap(name, 0);
  if (ioctl(tap, TUNSETPERSIST, 1) < 0) fail("TUNSETPERSIST");
  close(tap);
}
