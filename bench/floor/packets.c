/* Frames between a pod's wire and its guest, whatever joins the two: sent and taken by one thread, some at a time. */
#include "floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { AT_ONCE = 32, PROTOCOL = 253 /* for experiments: RFC 3692 */, PATIENCE = 1000 /* milliseconds */ };

/* IPv4 from the address that the benchmark's pods have, so that a guest that is checked may send it; to one that nobody here has. */
static const unsigned char packet[] = {0x45, 0, 0, 28, 0, 0, 0, 0, 64, PROTOCOL, 0x65, 0xe1, 10, 1, 0, 2, 10, 1, 0, 1};

static char frames[2][65536];

static int is_ours(const char *frame, ssize_t length)
{
  return length >= ETH_HLEN + (ssize_t)sizeof packet && memcmp(frame + ETH_HLEN, packet, sizeof packet) == 0;
}

/* Reads until so many of our frames have come; how many did not. */
static size_t take(int from, size_t count)
{
  while (count > 0) {
    const ssize_t length = read(from, frames[1], sizeof frames[1]);
    if (length >= 0) {
      count -= (size_t)is_ours(frames[1], length);
    } else if (errno == EAGAIN) {
      struct pollfd one = {.fd = from, .events = POLLIN};
      if (poll(&one, 1, PATIENCE) == 0) break;
    } else if (errno != EINTR) {
      fail("take");
    }
  }
  return count;
}

static uint64_t stream(int from, int to, const unsigned char *source, const unsigned char *destination, size_t size, size_t count)
{
  struct ethhdr *header = (struct ethhdr *)frames[0];
  memcpy(header->h_source, source, ETH_ALEN);
  memcpy(header->h_dest, destination, ETH_ALEN);
  header->h_proto = htons(ETH_P_IP);
  memcpy(frames[0] + ETH_HLEN, packet, sizeof packet);
  const uint64_t start = nanoseconds();
  for (size_t sent = 0; sent < count; sent += AT_ONCE) {
    for (size_t i = 0; i < AT_ONCE; i++)
      if (write(from, frames[0], size) < 0) fail("send");
    if (take(to, AT_ONCE) > 0) {
      errno = ETIMEDOUT;
      fail("frames were lost");
    }
  }
  return (nanoseconds() - start) / count;
}

static void parse(const char *text, unsigned char *mac)
{
  if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) != 6) fail(text);
}

/* Takes a process and its descriptor of the guest's end, the interface on the other end of the wire (in this namespace), the MACs of guest
 * and wire, the size of the frames, and how many. Answers the time of one frame to the guest, and of one from it. */
struct answer packets(char **words)
{
  const int process = (int)syscall(SYS_pidfd_open, atoi(words[0]), 0);
  const int guest = (int)syscall(SYS_pidfd_getfd, process, atoi(words[1]), 0);
  if (guest < 0) fail("the guest's descriptor");
  close(process);
  unsigned char guest_mac[ETH_ALEN], wire_mac[ETH_ALEN];
  parse(words[3], guest_mac);
  parse(words[4], wire_mac);
  const size_t size = (size_t)atoi(words[5]), count = (size_t)atoi(words[6]);

  const int wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_IP));
  const struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = atoi(words[2])};
  if (wire < 0 || bind(wire, (const struct sockaddr *)&at, sizeof at) < 0) fail("packet socket");
  setsockopt(wire, SOL_PACKET, PACKET_IGNORE_OUTGOING, &(int){1}, sizeof(int));
  const uint64_t to_guest = stream(wire, guest, wire_mac, guest_mac, size, count);
  const uint64_t from_guest = stream(guest, wire, guest_mac, wire_mac, size, count);
  close(wire);
  close(guest);
  return (struct answer){2, {to_guest, from_guest}};
}
