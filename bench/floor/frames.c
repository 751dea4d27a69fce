/* Frames through a TAP: a queue is filled from the kernel's side, then each frame is read and written back. */
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of an EtherType for experiments: IEEE 802, 9.2.3. The kernel drops what comes in. */
static const unsigned char header[ETH_HLEN] = {2, 0, 0, 0, 3, 1, 2, 0, 0, 0, 3, 2, 0x88, 0xb5};

static void fill(unsigned ifindex, size_t size, size_t count)
{
  static char frame[2048];
  memcpy(frame, header, sizeof header);
  const int sender = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
  const struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)ifindex};
  if (sender < 0) fail("packet socket");
  setsockopt(sender, SOL_PACKET, PACKET_QDISC_BYPASS, &(int){1}, sizeof(int));
  for (size_t i = 0; i < count; i++)
    if (sendto(sender, frame, size, 0, (const struct sockaddr *)&to, sizeof to) < 0) fail("fill");
  close(sender);
}

/* Takes a TAP that somebody holds, the size of the frames, and how many. */
struct answer fill_tap(char **words)
{
  fill(if_nametoindex(words[0]), (size_t)atoi(words[1]), (size_t)atoi(words[2]));
  return (struct answer){0};
}

/* As fill_tap, but holds the TAP itself; answers the time of one frame. */
struct answer echo_frames(char **words)
{
  const size_t count = (size_t)atoi(words[2]);
  const int tap = open_tap(words[0], O_NONBLOCK);
  fill(if_nametoindex(words[0]), (size_t)atoi(words[1]), count);
  static char frame[65536];
  const uint64_t start = nanoseconds();
  for (size_t i = 0; i < count; i++) {
    const ssize_t length = read(tap, frame, sizeof frame);
    if (length < 0 || write(tap, frame, (size_t)length) < 0) fail("echo");
  }
  const uint64_t taken = nanoseconds() - start;
  close(tap);
  return (struct answer){1, {taken / count}};
}
