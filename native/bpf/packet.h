// An IPv4 packet of UDP, TCP or ICMP, and how its addresses and ports are rewritten: by the helpers of the kernel that know of
// checksums which are not there yet (CHECKSUM_PARTIAL) and of segments that are to be made (GSO).
#pragma once
#include "kernel.h"

struct ethernet {
  u8 to[6];
  u8 from[6];
  u16 type;
};
/** RFC 791. */
struct ipv4 {
  u8 version_length;
  u8 service;
  u16 length;
  u16 id;
  u16 fragment;
  u8 hops;
  u8 protocol;
  u16 checksum;
  u32 from;
  u32 to;
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
/** RFC 826, of Ethernet and IPv4. In halves, because addresses stand at odd places. */
struct arp {
  u16 hardware;
  u16 protocol;
  u8 hardware_length;
  u8 protocol_length;
  u16 operation;
  u16 sender_mac[3];
  u16 sender_ip[2];
  u16 target_mac[3];
  u16 target_ip[2];
};

enum { ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58 };
/** RFC 792. */
enum { FRAGMENTATION_NEEDED = 4 }; /* a code of UNREACHABLE */
enum { ECHO_REPLY = 0, UNREACHABLE = 3, ECHO_REQUEST = 8, TIME_EXCEEDED = 11, PARAMETER_PROBLEM = 12 };
/** RFC 4443, RFC 4861: errors are those below 128. */
enum { NEIGHBOR_ADVERTISEMENT = 136 };
#define IP_AT ((u32)sizeof(struct ethernet))
#define MORE_FRAGMENTS 0x2000
#define FRAGMENT_OFFSET 0x1fff

/**
 * Of an ICMP error these are the tuple of the packet that it quotes, turned round: so an error goes where a packet of the same connection
 * would go, and is rewritten by the same numbers. Addresses and ports in the network's order; of echo the port is its id, on both sides.
 */
struct packet {
  u32 from;
  u32 to;
  u16 from_port;
  u16 to_port;
  u8 protocol;
  /** Of ICMP. */
  u8 type;
  u8 code;
  u8 is_fragment;
  /** Not the first fragment: it has no ports. */
  u8 is_later;
  u8 is_error;
  u16 id;
  /** Where the header of layer 4 stands, and in errors the quoted packet's. */
  u32 at;
  u32 quoted;
  u32 quoted_at;
  /** Of an error, who sent it: the other end, or a router on the way. */
  u32 sender;
};

INLINE int is_icmp_error(u8 type) { return type == UNREACHABLE || type == TIME_EXCEEDED || type == PARAMETER_PROBLEM; }

/** 0: it is one. */
INLINE int parse(struct __sk_buff *skb, struct packet *p) {
  struct ipv4 ip;
  if (load_bytes(skb, IP_AT, &ip, sizeof ip) || ip.version_length >> 4 != 4) return -1;
  u32 length = (ip.version_length & 15) * 4;
  if (length < sizeof ip) return -1;
  u16 fragment = BE16(ip.fragment);
  p->from = p->sender = ip.from;
  p->to = ip.to;
  p->from_port = p->to_port = 0;
  p->protocol = ip.protocol;
  p->id = ip.id;
  p->is_fragment = (fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) != 0;
  p->is_later = (fragment & FRAGMENT_OFFSET) != 0;
  p->is_error = 0;
  p->type = p->code = 0;
  p->at = IP_AT + length;
  p->quoted = p->quoted_at = 0;
  if (p->is_later) return 0;
  u16 ports[2];
  if (ip.protocol == TCP || ip.protocol == UDP) {
    if (load_bytes(skb, p->at, ports, sizeof ports)) return -1;
    p->from_port = ports[0];
    p->to_port = ports[1];
    return 0;
  }
  if (ip.protocol != ICMP) return 0;
  u16 header[4];
  if (load_bytes(skb, p->at, header, sizeof header)) return -1;
  p->type = (u8)header[0];
  p->code = header[0] >> 8;
  if (p->type == ECHO_REQUEST || p->type == ECHO_REPLY) p->from_port = p->to_port = header[2];
  if (!is_icmp_error(p->type)) return 0;
  p->quoted = p->at + sizeof header;
  struct ipv4 quoted;
  if (load_bytes(skb, p->quoted, &quoted, sizeof quoted) || quoted.version_length >> 4 != 4) return -1;
  length = (quoted.version_length & 15) * 4;
  // An error goes to whom the packet came from; and of later fragments there are none (RFC 1122, 3.2.2).
  if (length < sizeof quoted || quoted.from != ip.to || (quoted.fragment & BE16(FRAGMENT_OFFSET))) return -1;
  p->quoted_at = p->quoted + length;
  p->is_error = 1;
  p->protocol = quoted.protocol;
  p->from = quoted.to;
  p->to = quoted.from;
  if (quoted.protocol == TCP || quoted.protocol == UDP) {
    if (load_bytes(skb, p->quoted_at, ports, sizeof ports)) return -1;
    p->from_port = ports[1];
    p->to_port = ports[0];
  } else if (quoted.protocol == ICMP) {
    if (load_bytes(skb, p->quoted_at, header, sizeof header)) return -1;
    if ((u8)header[0] == ECHO_REQUEST || (u8)header[0] == ECHO_REPLY) p->from_port = p->to_port = header[2];
  }
  return 0;
}

enum { FROM = 12, TO = 16 };

/** Where the checksum stands in the header of layer 4. */
INLINE u32 checksum_at(u8 protocol) { return protocol == TCP ? 16 : protocol == UDP ? 6 : 2; }

/** UDP may have none: 0, which stays 0. */
INLINE u64 udp_flag(u8 protocol) { return protocol == UDP ? BPF_F_MARK_MANGLED_0 : 0; }

INLINE int set_address(struct __sk_buff *skb, const struct packet *p, u32 field, u32 was, u32 is) {
  if (was == is) return 0;
  if (!p->is_later && !p->is_error && (p->protocol == TCP || p->protocol == UDP) &&
      l4_replace(skb, p->at + checksum_at(p->protocol), was, is, BPF_F_PSEUDO_HDR | 4 | udp_flag(p->protocol)))
    return -1;
  if (l3_replace(skb, IP_AT + 10, was, is, 4)) return -1;
  return store_bytes(skb, IP_AT + field, &is, 4, 0);
}

/** In the quoted header; its checksum makes up for the change, so that ICMP's stays. */
INLINE int set_quoted_address(struct __sk_buff *skb, const struct packet *p, u32 field, u32 was, u32 is) {
  if (was == is) return 0;
  if (l3_replace(skb, p->quoted + 10, was, is, 4)) return -1;
  return store_bytes(skb, p->quoted + field, &is, 4, 0);
}

/** `second`: that to which it goes. */
INLINE int set_port(struct __sk_buff *skb, const struct packet *p, int second, u16 was, u16 is) {
  if (was == is || p->is_later) return 0;
  u32 at, checksum;
  u64 flags = 2;
  if (p->is_error) {
    at = p->quoted_at + (p->protocol == ICMP ? 4 : second ? 0 : 2);
    checksum = p->at + 2;
  } else {
    at = p->at + (p->protocol == ICMP ? 4 : second ? 2 : 0);
    checksum = p->at + checksum_at(p->protocol);
    flags |= udp_flag(p->protocol);
  }
  if (l4_replace(skb, checksum, was, is, flags)) return -1;
  return store_bytes(skb, at, &is, 2, 0);
}

/** Where a packet goes: its addresses and ports there. */
struct place {
  u32 from;
  u32 to;
  u16 from_port;
  u16 to_port;
};

/** Not 0: the packet has been spoilt, and must not go on. */
INLINE int rewrite(struct __sk_buff *skb, const struct packet *p, const struct place *is) {
  u32 sender = p->sender == p->from ? is->from : p->sender;
  if (p->is_error) {
    if (set_quoted_address(skb, p, TO, p->from, is->from) || set_quoted_address(skb, p, FROM, p->to, is->to)) return -1;
  }
  if (set_address(skb, p, FROM, p->sender, sender) || set_address(skb, p, TO, p->to, is->to)) return -1;
  if (set_port(skb, p, 0, p->from_port, is->from_port)) return -1;
  // An echo has but one.
  return p->protocol == ICMP ? 0 : set_port(skb, p, 1, p->to_port, is->to_port);
}
