// Every frame that comes in by the pod's interface leaves by the guest's TAP (podtap_to_guest), and the other way round
// (podtap_to_link). lib/wire/bpf/redirect.ts knows the same structs.
//
// bpf_redirect() and mirred never tell that the device is gone: the frame is eaten. bpf_clone_redirect() tells, so that a
// dead TAP does not take the pod's network with it: frames go on to the pod, in the kernel, with no process to watch. What
// comes from a guest never goes up into the pod, whatever happens.
#include "kernel.h"

enum { TO_GUEST, TO_LINK, DIRECTIONS };

struct config {
  /** Where to. 0: paused; the pod gets what comes in, and what the guest sends goes nowhere. */
  u32 ifindex;
  u32 flags;
  /** The guest's, where its source is checked. */
  u8 mac[6];
  u8 padding[2];
};

/** of TO_GUEST: a TAP that is down, or that nobody holds, counts as dead, not only one that is gone. */
#define FALL_BACK_IF_DOWN 1
/** of TO_LINK */
#define CHECK_SOURCE 2
#define ALLOW_ANY_LINK_LOCAL 4
#define ALLOW_ROUTER 8

struct counter {
  u64 packets;
  u64 bytes;
};
enum { GUEST_REDIRECTED, GUEST_PASSED, LINK_REDIRECTED, LINK_SPOOFED, LINK_FAILED, COUNTERS };

MAP(configs) = {BPF_MAP_TYPE_ARRAY, sizeof(u32), sizeof(struct config), DIRECTIONS, 0};
MAP(counters) = {BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(u32), sizeof(struct counter), COUNTERS, 0};
/** The addresses that the guest may send from: the key is the address, the value says nothing. */
MAP(sources4) = {BPF_MAP_TYPE_HASH, 4, 1, 256, 0};
MAP(sources6) = {BPF_MAP_TYPE_HASH, 16, 1, 256, 0};

INLINE void count(u32 which, u32 bytes) {
  struct counter *counter = map_lookup(&counters, &which);
  if (!counter) return;
  counter->packets++;
  counter->bytes += bytes;
}

enum { NET_XMIT_DROP = 1, NET_XMIT_CN = 2 };

SECTION("tc/podtap_to_guest") int to_guest(struct __sk_buff *skb) {
  u32 which = TO_GUEST;
  u32 length = skb->len;
  struct config *config = map_lookup(&configs, &which);
  if (!config || !config->ifindex) goto pass;
  long answer = clone_redirect(skb, config->ifindex, 0);
  // A device that is down or without carrier answers NET_XMIT_CN, by its noop qdisc: from when the kernel's linkwatch has
  // seen it, within a second. NET_XMIT_DROP is a full queue of a living one.
  if (answer < 0 || (answer == NET_XMIT_CN && (config->flags & FALL_BACK_IF_DOWN))) goto pass;
  count(GUEST_REDIRECTED, length);
  return DROP;
pass:
  count(GUEST_PASSED, length);
  return NEXT;
}

struct ethernet {
  u8 to[6];
  u8 from[6];
  u16 type;
};
/** RFC 826, of Ethernet and IPv4, up to the sender. In halves, because addresses stand at odd places. */
struct arp {
  u16 hardware;
  u16 protocol;
  u8 hardware_length;
  u8 protocol_length;
  u16 operation;
  u8 sender_mac[6];
  u16 sender_ip[2];
};
/** RFC 8200. */
struct ipv6 {
  u32 version;
  u16 length;
  u8 next;
  u8 hops;
  u32 from[4];
  u32 to[4];
};

INLINE int same_mac(const u8 *a, const u8 *b) {
  const u16 *x = (const u16 *)a, *y = (const u16 *)b;
  return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

INLINE int may_send4(u32 address) { return map_lookup(&sources4, &address) != 0; }

INLINE int is_link_local(const u32 *address) { return (address[0] & BE32(0xffc00000)) == BE32(0xfe800000); }

INLINE int may_send6(const u32 *address, u32 flags) {
  if ((flags & ALLOW_ANY_LINK_LOCAL) && is_link_local(address)) return 1;
  return map_lookup(&sources6, address) != 0;
}

INLINE int arp_is_own(struct __sk_buff *skb, const struct config *config) {
  struct arp arp;
  if (load_bytes(skb, sizeof(struct ethernet), &arp, sizeof arp)) return 0;
  if (arp.hardware != BE16(1) || arp.hardware_length != 6) return 0;
  if (arp.protocol != BE16(ETH_P_IP) || arp.protocol_length != 4) return 0;
  if (!same_mac(arp.sender_mac, config->mac)) return 0;
  u32 sender = arp.sender_ip[0] | (u32)arp.sender_ip[1] << 16;
  // 0.0.0.0 asks whether an address is taken (RFC 5227).
  return !sender || may_send4(sender);
}

INLINE int ipv4_is_own(struct __sk_buff *skb) {
  u8 version;
  u32 from;
  if (load_bytes(skb, sizeof(struct ethernet), &version, 1) || version >> 4 != 4) return 0;
  if (load_bytes(skb, sizeof(struct ethernet) + 12, &from, 4)) return 0;
  return may_send4(from);
}

enum { HOP_BY_HOP = 0, ROUTING = 43, ICMPV6 = 58, DESTINATION = 60 };
/** RFC 4861, RFC 2710, RFC 3810. */
enum {
  MLD_REPORT = 131,
  MLD_DONE = 132,
  ROUTER_SOLICITATION = 133,
  ROUTER_ADVERTISEMENT = 134,
  NEIGHBOR_SOLICITATION = 135,
  NEIGHBOR_ADVERTISEMENT = 136,
  REDIRECT = 137,
  MLD2_REPORT = 143,
};
#define MOST_EXTENSIONS 4

INLINE int ipv6_is_own(struct __sk_buff *skb, u32 flags) {
  struct ipv6 ip;
  u32 at = sizeof(struct ethernet);
  if (load_bytes(skb, at, &ip, sizeof ip) || (ip.version & BE32(0xf0000000)) != BE32(0x60000000)) return 0;
  int unspecified = !(ip.from[0] | ip.from[1] | ip.from[2] | ip.from[3]);
  if (!unspecified && !may_send6(ip.from, flags)) return 0;

  // Extension headers would hide neighbour discovery, and MLD has one. In fragments it is not valid (RFC 6980).
  at += sizeof ip;
  u8 next = ip.next;
  int extension = 0;
#pragma unroll
  for (int i = 0; i < MOST_EXTENSIONS; i++) {
    extension = next == HOP_BY_HOP || next == ROUTING || next == DESTINATION;
    if (extension) {
      u8 head[2];
      if (load_bytes(skb, at, head, 2)) return 0;
      next = head[0];
      at += ((u32)head[1] + 1) * 8;
    }
  }
  if (next == HOP_BY_HOP || next == ROUTING || next == DESTINATION) return 0;
  if (next != ICMPV6) return !unspecified;

  u8 type;
  if (load_bytes(skb, at, &type, 1)) return 0;
  u32 target[4];
  switch (type) {
    case NEIGHBOR_SOLICITATION:
      // From no address: is the target taken (RFC 4862, 5.4)? It must be one that the guest may have then.
      if (!unspecified) return 1;
      goto owned;
    case NEIGHBOR_ADVERTISEMENT:
      if (unspecified) return 0;
    owned:
      if (load_bytes(skb, at + 8, target, sizeof target)) return 0;
      return may_send6(target, flags);
    case ROUTER_SOLICITATION:
    case MLD_REPORT:
    case MLD_DONE:
    case MLD2_REPORT:
      return 1;
    case ROUTER_ADVERTISEMENT:
    case REDIRECT:
      return !unspecified && (flags & ALLOW_ROUTER) != 0;
    default:
      return !unspecified;
  }
}

INLINE int is_own(struct __sk_buff *skb, const struct config *config) {
  struct ethernet ethernet;
  if (skb->vlan_present) return 0;
  if (load_bytes(skb, 0, &ethernet, sizeof ethernet) || !same_mac(ethernet.from, config->mac)) return 0;
  switch (ethernet.type) {
    case BE16(ETH_P_IP):
      return ipv4_is_own(skb);
    case BE16(ETH_P_ARP):
      return arp_is_own(skb, config);
    case BE16(ETH_P_IPV6):
      return ipv6_is_own(skb, config->flags);
    default:
      return 0;
  }
}

SECTION("tc/podtap_to_link") int to_link(struct __sk_buff *skb) {
  u32 which = TO_LINK;
  u32 length = skb->len;
  struct config *config = map_lookup(&configs, &which);
  if (!config || !config->ifindex) goto failed;
  if ((config->flags & CHECK_SOURCE) && !is_own(skb, config)) {
    count(LINK_SPOOFED, length);
    return DROP;
  }
  if (clone_redirect(skb, config->ifindex, 0) < 0) goto failed;
  count(LINK_REDIRECTED, length);
  return DROP;
failed:
  count(LINK_FAILED, length);
  return DROP;
}

char its_license[] SECTION("license") = "GPL";
