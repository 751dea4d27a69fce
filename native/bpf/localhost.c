// Between guests and the pod's localhost, and between several guests that share the pod's address. Beside the datapath, and ahead of it:
// what is none of its business goes on to who comes next (NEXT). lib/wire/bpf/localhost.ts knows the same structs.
// cpu: v3 (atomic operations that tell what was there: Linux 5.12)
//
//   podtap_lh_tap    on each TAP, ingress:          what a guest sends
//   podtap_lh_lo     on the loopback, egress:       what the pod's processes send to a guest
//   podtap_lh_link   on the pod's interface, ingress
//
// The guest in slot j has two source addresses of the loopback: LOOPBACK.0.j, and LOOPBACK.1.j where it had dialled a literal 127.x.y.z
// (of further addresses of the guests the index stands above the slot's six bits). So what goes to a service and back is translated
// without any state: equal source ports of two guests cannot clash, and later fragments are translated like others. State (flows) is kept of
// what guests of several send to the world, of what guests send each other, and of datagrams that the pod's processes send to a guest.
//
// Everything else of 127.0.0.0/8 is closed to guests, and all of it, as well as the aliases, to whoever is on the pod's interface.
// IPv4 only: there is no route_localnet for [::1] (ip6_rcv_core() drops what comes to it from elsewhere). IPv6 frames are the first guest's,
// but for those that come for a socket of the pod's own.
#include "packet.h"

#define GUESTS 64 /* slots 1 to 63, and 0 for the pod's own processes */
#define ADDRESSES 4
#define CELLS 32768

struct config {
  u32 link;
  u32 flags;
  /** Networks: /24 and /23. */
  u32 aliases;
  u32 loopback;
  /** 0: none. */
  u32 gateway;
  u32 first_tap;
  /** Of the guests; 0: none. The first is P. */
  u32 addresses[ADDRESSES];
  /** Aliases that answer echo requests, by their last byte. */
  u32 known[8];
  u8 mac[6];
  u8 alias_mac[6];
  u8 gateway_mac[6];
  u8 padding[2];
};
enum {
  POD_HAS_ADDRESSES = 1,
  SEVERAL = 2,
  /** The pod's listening sockets get what no guest has declared: else it is the guest's. */
  LISTENERS = 4,
  /** There is no next hop: `gateway_mac` is `alias_mac`. */
  NO_NEXT_HOP = 8,
};

/** What a guest's frames are counted as, and others'. */
enum {
  TO_SERVICE,
  FROM_SERVICE,
  TO_SIDECAR,
  FROM_SIDECAR,
  TO_PEER,
  CLOSED,
  SPOOFED,
  MARTIAN,
  ARP_ANSWERED,
  ECHO_ANSWERED,
  TO_POD,
  TO_OWNER,
  TO_FLOW,
  TO_FIRST,
  CLONED,
  FLOW_NEW,
  FLOW_CLASH,
  FLOW_LOST,
  FROM_GUEST,
  FOREIGN,
  TOO_LONG,
  FAILED,
  COUNTERS,
};
struct counter {
  u64 packets;
  u64 bytes;
};

/** Of LPM_TRIE: so many bits of what follows; all of them where it is looked up. */
struct port_key {
  u32 bits;
  u32 address;
  u8 protocol;
  u8 zero;
  u16 port;
};
#define ALL_BITS 64

/** Where it goes instead; the port is so much higher there (modulo 65536). */
struct target {
  u32 address;
  u16 shift;
  u16 padding;
};

struct guest {
  /** Its TAP; 0: there is none. */
  u32 tap;
  /** Its share of the cells. */
  u32 first_cell;
  u32 cells;
};

/** Who made a flow, as a zone: names of the same four numbers that mean different things. */
enum {
  WORLD = 0,
  /** + slot: of that guest with another one, whose slot is `remote`. */
  PEER = 0,
  /** Of the pod's processes. */
  POD = 64,
  /** + slot: of a guest's flow, under the port that it has in the guest, that under which it goes. */
  MOVED = 128,
  /** + slot: fragments of a datagram; the port is its id. */
  FRAGMENT = 192,
};
struct flow_key {
  u32 remote;
  u32 local;
  u16 remote_port;
  u16 local_port;
  u8 protocol;
  u8 zone;
  u16 padding;
};
struct flow {
  u8 slot;
  /** Which of its addresses. */
  u8 index;
  /** The guest's own, or of MOVED the one outside. */
  u16 port;
  /** Units of 2^30 ns. */
  u32 seen;
};
/** Each flow has a cell, and each guest a share of the cells: whoever opens more than that loses its own. */
struct cell {
  u32 busy;
  struct flow_key key;
};
/** Flows that were used of late are passed over, so many at most. */
#define TRIES 4
#define RECENT 8 /* in units of flow.seen */

struct datagram {
  u32 from;
  u32 to;
  u16 id;
  u8 protocol;
  u8 padding;
};

MAP(configs) = {BPF_MAP_TYPE_ARRAY, sizeof(u32), sizeof(struct config), 1, 0};
MAP(counters) = {BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(u32), sizeof(struct counter), COUNTERS, 0};
/** By ifindex of the TAP. */
MAP(slots) = {BPF_MAP_TYPE_HASH, sizeof(u32), sizeof(u32), GUESTS, 0};
MAP(guests) = {BPF_MAP_TYPE_ARRAY, sizeof(u32), sizeof(struct guest), GUESTS, 0};
/** As a guest dials it, by alias or literally, to what it means; and back to the alias. */
MAP(services) = {BPF_MAP_TYPE_LPM_TRIE, sizeof(struct port_key), sizeof(struct target), 65536, BPF_F_NO_PREALLOC};
MAP(answers) = {BPF_MAP_TYPE_LPM_TRIE, sizeof(struct port_key), sizeof(struct target), 65536, BPF_F_NO_PREALLOC};
/** Dialled address to the pod's, and the pod's to its alias: what is left to tell of fragments without ports. */
MAP(hosts) = {BPF_MAP_TYPE_HASH, sizeof(u32), sizeof(u32), 512, 0};
MAP(names) = {BPF_MAP_TYPE_HASH, sizeof(u32), sizeof(u32), 256, 0};
/** The slots of who owns a port: eight of them in one value, by protocol (0: TCP) and port. */
MAP(owners) = {BPF_MAP_TYPE_ARRAY, sizeof(u32), 8, 2 * 65536 / 8, 0};
MAP(flows) = {BPF_MAP_TYPE_HASH, sizeof(struct flow_key), sizeof(struct flow), CELLS, BPF_F_NO_PREALLOC};
MAP(cells) = {BPF_MAP_TYPE_ARRAY, sizeof(u32), sizeof(struct cell), CELLS, 0};
MAP(heads) = {BPF_MAP_TYPE_ARRAY, sizeof(u32), sizeof(u32), GUESTS, 0};
/** Of what comes by the pod's interface: who got the first fragment. Whoever floods it is outside, and harms fragments. */
MAP(datagrams) = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct datagram), sizeof(u32), 4096, 0};
/** What the programs were told, as text: the last thing that is written. */
MAP(told) = {BPF_MAP_TYPE_ARRAY, sizeof(u32), 65536, 1, 0};

#define LOCALHOST BE32(0x7f000001)
#define LOOPBACK_INDEX 1
/** Last byte of an address. */
#define LAST(address) ((address) >> 24)
#define WITH_LAST(network, last) ((network) | (u32)(last) << 24)
#define LITERAL_BIT (1u << 16)
/** Last bytes of aliases. */
enum { LOCALHOST_ALIAS = 2, POD_ALIAS = 3, PEERS = 64, LITERAL_PEERS = 128 };

INLINE int is_loopback(u32 address) { return (address & 0xff) == 127; }
INLINE int is_alias(const struct config *config, u32 address) { return (address & BE32(0xffffff00)) == config->aliases; }
INLINE u32 now(void) { return (u32)(ktime_coarse() >> 30); }

INLINE void count(u32 which, u32 bytes) {
  struct counter *counter = map_lookup(&counters, &which);
  if (!counter) return;
  counter->packets++;
  counter->bytes += bytes;
}
INLINE int drop(struct __sk_buff *skb, u32 why) {
  count(why, skb->len);
  return DROP;
}

INLINE struct config *config_of(void) {
  u32 zero = 0;
  struct config *config = map_lookup(&configs, &zero);
  return config && config->link ? config : 0;
}

INLINE u32 tap_of(u32 slot) {
  struct guest *guest = map_lookup(&guests, &slot);
  return guest ? guest->tap : 0;
}

/** The slot of the guest that owns a port; 0: nobody. */
INLINE u32 owner_of(u8 protocol, u16 port) {
  if (protocol != TCP && protocol != UDP) return 0;
  u32 at = (protocol == UDP ? 65536 : 0) + BE16(port), word = at >> 3;
  u8 *slots_of = map_lookup(&owners, &word);
  return slots_of ? slots_of[at & 7] : 0;
}

/** Which of the guests' addresses; -1: none. */
INLINE int index_of(const struct config *config, u32 address) {
  if (!address) return -1;
#pragma unroll
  for (int i = 0; i < ADDRESSES; i++)
    if (config->addresses[i] == address) return i;
  return -1;
}

/** What the pod itself has for a packet: nothing; a socket that takes it from whomever; one that is connected to the sender. */
enum { NO_SOCKET, LOOSE, CONNECTED };
INLINE int find_socket(struct __sk_buff *skb, u8 protocol, void *tuple, u32 size) {
  int found = NO_SOCKET;
  if (protocol == TCP) {
    struct bpf_sock *socket = skc_lookup_tcp(skb, tuple, size, CURRENT_NETNS, 0);
    if (!socket) return NO_SOCKET;
    found = socket->state == TCP_LISTEN ? LOOSE : CONNECTED;
    sk_release(socket);
  } else if (protocol == UDP) {
    struct bpf_sock *socket = sk_lookup_udp(skb, tuple, size, CURRENT_NETNS, 0);
    if (!socket) return NO_SOCKET;
    found = socket->dst_port ? CONNECTED : LOOSE;
    sk_release(socket);
  }
  return found;
}
INLINE int socket_for(struct __sk_buff *skb, u8 protocol, u32 from, u16 from_port, u32 to, u16 to_port) {
  struct bpf_sock_tuple tuple = {from, to, from_port, to_port};
  return find_socket(skb, protocol, &tuple, sizeof tuple);
}

// ------------------------------------------------------------------ flows

INLINE struct flow *flow_of(const struct flow_key *key) {
  struct flow *flow = map_lookup(&flows, key);
  if (!flow) return 0;
  u32 time = now();
  // So that the cache line stays shared where nothing has changed.
  if (flow->seen != time) flow->seen = time;
  return flow;
}

/** A new flow, at the cost of who makes it. Not 0: there is one of that key, or no cell is free. */
INLINE int claim(u32 payer, const struct flow_key *key, const struct flow *flow) {
  struct guest *guest = map_lookup(&guests, &payer);
  u32 *head = map_lookup(&heads, &payer);
  if (!guest || !head) return -1;
  u32 first = guest->first_cell, size = guest->cells;
  if (!size) return -1;
  for (int i = 0; i < TRIES; i++) {
    u32 at = first + __sync_fetch_and_add(head, 1) % size;
    struct cell *cell = map_lookup(&cells, &at);
    if (!cell || __sync_val_compare_and_swap(&cell->busy, 0, 1) != 0) continue;
    struct flow_key old = cell->key;
    if (old.protocol) {
      struct flow *other = map_lookup(&flows, &old);
      if (other && i < TRIES - 1 && flow->seen - other->seen < RECENT) {
        __sync_lock_test_and_set(&cell->busy, 0);
        continue;
      }
      if (other) map_delete(&flows, &old);
      cell->key.protocol = 0;
    }
    long error = map_update(&flows, key, flow, BPF_NOEXIST);
    if (!error) cell->key = *key;
    __sync_lock_test_and_set(&cell->busy, 0);
    return error ? -1 : 0;
  }
  return -1;
}

// ------------------------------------------------------------------ sending

INLINE int set_macs(struct __sk_buff *skb, const u8 *to, const u8 *from) {
  u8 macs[12];
  __builtin_memcpy(macs, to, 6);
  __builtin_memcpy(macs + 6, from, 6);
  return store_bytes(skb, 0, macs, sizeof macs, 0);
}

INLINE int to_loopback(struct __sk_buff *skb) {
  // The loopback's own MAC.
  u8 zeros[12] = {};
  if (store_bytes(skb, 0, zeros, sizeof zeros, 0)) return drop(skb, FAILED);
  return redirect(LOOPBACK_INDEX, BPF_F_INGRESS);
}

INLINE int to_tap(struct __sk_buff *skb, const struct config *config, u32 tap) {
  if (!tap || set_macs(skb, config->mac, config->alias_mac)) return drop(skb, FAILED);
  return redirect(tap, 0);
}

/** ARP's request for an address, answered where it came from. */
INLINE int answer_arp(struct __sk_buff *skb, struct arp *arp, const u8 *mac) {
  u16 own[3], address[2] = {arp->target_ip[0], arp->target_ip[1]};
  __builtin_memcpy(own, mac, 6);
  arp->operation = BE16(2);
  arp->target_ip[0] = arp->sender_ip[0];
  arp->target_ip[1] = arp->sender_ip[1];
  arp->sender_ip[0] = address[0];
  arp->sender_ip[1] = address[1];
#pragma unroll
  for (int i = 0; i < 3; i++) {
    arp->target_mac[i] = arp->sender_mac[i];
    arp->sender_mac[i] = own[i];
  }
  u8 macs[12];
  __builtin_memcpy(macs, arp->target_mac, 6);
  __builtin_memcpy(macs + 6, mac, 6);
  if (store_bytes(skb, IP_AT, arp, sizeof *arp, 0) || store_bytes(skb, 0, macs, sizeof macs, 0)) return drop(skb, FAILED);
  count(ARP_ANSWERED, skb->len);
  return redirect(skb->ifindex, 0);
}

/** Of Ethernet and IPv4. */
INLINE int load_arp(struct __sk_buff *skb, struct arp *arp) {
  if (load_bytes(skb, IP_AT, arp, sizeof *arp)) return -1;
  return arp->hardware == BE16(1) && arp->hardware_length == 6 && arp->protocol == BE16(ETH_P_IP) && arp->protocol_length == 4 ? 0 : -1;
}
INLINE u32 address_of(const u16 *halves) { return halves[0] | (u32)halves[1] << 16; }

// ------------------------------------------------------------------ what a guest sends

/** For the pod's localhost. */
struct local {
  struct place place;
  /** Of another guest; 0: to the loopback. */
  u32 tap;
  u32 counter;
};

INLINE int is_answer_to_pod(struct __sk_buff *skb, const struct packet *p, u32 slot, u32 self) {
  if (owner_of(p->protocol, p->from_port) != slot) return 0;
  // It would be believed of the whole loopback.
  if (p->is_error && p->type == UNREACHABLE && p->code == FRAGMENTATION_NEEDED) return 0;
  // A socket that listens would be one that the guest dials; and if there is one at the other end, both are the pod's.
  if (p->protocol == TCP)
    return socket_for(skb, TCP, self, p->from_port, self, p->to_port) == CONNECTED &&
           socket_for(skb, TCP, self, p->to_port, self, p->from_port) != CONNECTED;
  struct flow_key key = {self, slot, p->to_port, p->from_port, p->protocol, POD, 0};
  return flow_of(&key) != 0;
}

/** 0: it may go, and where. */
INLINE int find_local(struct __sk_buff *skb, const struct config *config, u32 slot, u32 index, const struct packet *p, struct local *to) {
  u32 literal = is_loopback(p->to), last = LAST(p->to);
  struct flow_key fragment = {p->to, index, 0, p->id, p->protocol, FRAGMENT + slot, 0};
  to->place.from_port = p->from_port;
  to->place.to_port = p->to_port;
  to->tap = 0;
  u32 self = literal || last == LOCALHOST_ALIAS ? LOCALHOST : config->addresses[0];
  int is_one = literal ? p->to == LOCALHOST : last == LOCALHOST_ALIAS;
  int is_pod = !literal && last == POD_ALIAS;

  if (p->is_later) {
    struct flow *first = flow_of(&fragment);
    // Of the port it has the other's slot: 0 for the loopback.
    if (first) {
      u32 other = first->port;
      if (!other) {
        to->place.from = to->place.to = self;
        to->counter = TO_SIDECAR;
        return 0;
      }
      to->counter = TO_PEER;
      to->tap = tap_of(other);
      if (!literal && last >= PEERS) {
        to->place.from = last >= LITERAL_PEERS ? LOCALHOST : WITH_LAST(config->aliases, LOCALHOST_ALIAS);
        to->place.to = config->addresses[first->index & (ADDRESSES - 1)];
      } else {
        to->place.from = WITH_LAST(config->aliases, (literal ? LITERAL_PEERS : PEERS) + slot);
        to->place.to = config->addresses[0];
      }
      return 0;
    }
    goto host;
  }

  struct flow decided = {slot, index, 0, now()};
  if (!literal && last >= PEERS) {
    u32 peer = last & (PEERS - 1);
    if (last >= LITERAL_PEERS + PEERS) return -1;
    struct flow_key key = {slot, last >= LITERAL_PEERS, p->from_port, p->to_port, p->protocol, PEER + peer, 0};
    struct flow *flow = peer ? flow_of(&key) : 0;
    if (!flow) return -1;
    decided.index = flow->index;
    decided.port = peer;
    to->place.from = last >= LITERAL_PEERS ? LOCALHOST : WITH_LAST(config->aliases, LOCALHOST_ALIAS);
    to->place.to = config->addresses[flow->index & (ADDRESSES - 1)];
    to->tap = tap_of(peer);
    to->counter = TO_PEER;
    goto decide;
  }
  if ((is_one || is_pod) && is_answer_to_pod(skb, p, slot, self)) {
    to->place.from = to->place.to = self;
    to->counter = TO_SIDECAR;
    goto decide;
  }
  if (is_one) {
    u32 peer = owner_of(p->protocol, p->to_port);
    if (peer) {
      struct flow_key key = {peer, literal, p->to_port, p->from_port, p->protocol, PEER + slot, 0};
      struct flow *flow = flow_of(&key);
      // An error is about what was there before.
      if (!flow && (p->is_error || claim(slot, &key, &decided))) return -1;
      if (flow) flow->index = index;
      decided.port = peer;
      to->place.from = WITH_LAST(config->aliases, (literal ? LITERAL_PEERS : PEERS) + slot);
      to->place.to = config->addresses[0];
      to->tap = tap_of(peer);
      to->counter = TO_PEER;
      goto decide;
    }
  }
  if (p->protocol != TCP && p->protocol != UDP) return -1;
  struct port_key dialled = {ALL_BITS, p->to, p->protocol, 0, p->to_port};
  struct target *target = map_lookup(&services, &dialled);
  if (!target) return -1;
  to->place.to_port = BE16((u16)(BE16(p->to_port) + target->shift));
host:;
  u32 *host = map_lookup(&hosts, &p->to);
  if (!host) return -1;
  to->place.from = WITH_LAST(config->loopback, index << 6 | slot) | (literal ? LITERAL_BIT : 0);
  to->place.to = *host;
  to->counter = TO_SERVICE;
  return 0;
decide:
  if (p->is_fragment && !flow_of(&fragment) && claim(slot, &fragment, &decided)) return -1;
  return 0;
}

/** An echo request to an alias, or to an address that is declared, is answered here: it tells no more than that something is. */
INLINE int answer_echo(struct __sk_buff *skb, const struct packet *p) {
  u16 turned[6];
  if (load_bytes(skb, 0, turned, sizeof turned)) return DROP;
#pragma unroll
  for (int i = 0; i < 3; i++) {
    u16 to = turned[i];
    turned[i] = turned[i + 3];
    turned[i + 3] = to;
  }
  u8 type = ECHO_REPLY;
  if (l4_replace(skb, p->at + 2, ECHO_REQUEST, ECHO_REPLY, 2) || store_bytes(skb, p->at, &type, 1, 0) ||
      store_bytes(skb, IP_AT + FROM, &p->to, 4, 0) || store_bytes(skb, IP_AT + TO, &p->from, 4, 0) ||
      store_bytes(skb, 0, turned, sizeof turned, 0))
    return drop(skb, FAILED);
  count(ECHO_ANSWERED, skb->len);
  return redirect(skb->ifindex, 0);
}

INLINE int to_localhost(struct __sk_buff *skb, const struct config *config, u32 slot, const struct packet *p) {
  int index = index_of(config, p->is_error ? p->sender : p->from);
  if (index < 0) return drop(skb, SPOOFED);
  // A source route would lead on from an address that is declared.
  if (p->at != IP_AT + sizeof(struct ipv4)) return drop(skb, CLOSED);
  if (p->is_error && p->sender != p->from) return drop(skb, SPOOFED);
  if (p->protocol == ICMP && !p->is_error && !p->is_fragment && p->type == ECHO_REQUEST) {
    u32 last = LAST(p->to);
    int known = is_loopback(p->to) ? map_lookup(&hosts, &p->to) != 0 : (config->known[last >> 5] >> (last & 31)) & 1;
    return known ? answer_echo(skb, p) : drop(skb, CLOSED);
  }
  struct local to;
  if (find_local(skb, config, slot, (u32)index & (ADDRESSES - 1), p, &to)) return drop(skb, CLOSED);
  if (rewrite(skb, p, &to.place)) return drop(skb, FAILED);
  count(to.counter, skb->len);
  return to.counter == TO_PEER ? to_tap(skb, config, to.tap) : to_loopback(skb);
}

/** Nobody's, as far as anybody can see; `key` is made to have it. 0: none was found. */
INLINE u16 find_free(struct __sk_buff *skb, const struct config *config, const struct packet *p, struct flow_key *key) {
  for (u32 i = 0; i < 8; i++) {
    // First where neither Linux (32768 to 60999) nor the guests' stacks look by themselves, as a rule.
    u32 random = random32();
    u16 port = BE16(i < 4 ? 61000 + random % 4536 : 1024 + random % 64512);
    key->local_port = port;
    if (map_lookup(&flows, key) || owner_of(p->protocol, port)) continue;
    if ((config->flags & POD_HAS_ADDRESSES) && socket_for(skb, p->protocol, p->to, p->to_port, p->from, port)) continue;
    return port;
  }
  return 0;
}

/** The port that a packet to the world has there; -1: none is free. */
INLINE int find_port(struct __sk_buff *skb, const struct config *config, u32 slot, u32 index, const struct packet *p) {
  if (owner_of(p->protocol, p->from_port) == slot) return p->from_port;
  struct flow_key key = {p->to, p->from, p->to_port, p->from_port, p->protocol, WORLD, 0};
  if (p->protocol == ICMP) key.remote_port = 0;
  struct flow *flow = flow_of(&key);
  if (flow && flow->slot == slot && flow->port == p->from_port) return p->from_port;
  struct flow_key moved = key;
  moved.zone = MOVED + slot;
  struct flow *before = flow_of(&moved);
  u16 port = p->from_port;
  int is_free = !flow;
  if (before) {
    port = before->port;
    key.local_port = port;
    flow = flow_of(&key);
    if (flow && flow->slot == slot && flow->port == p->from_port) return port;
    is_free = !flow;
  }
  // About a flow that nobody knows any more.
  if (p->is_error) return p->from_port;

  struct flow made = {slot, index, p->from_port, now()};
  if (!is_free || owner_of(p->protocol, port) ||
      ((config->flags & POD_HAS_ADDRESSES) && socket_for(skb, p->protocol, p->to, p->to_port, p->from, port)))
    port = find_free(skb, config, p, &key);
  if (!port) return -1;
  if (claim(slot, &key, &made)) {
    // Somebody was quicker, on another processor.
    port = find_free(skb, config, p, &key);
    if (!port || claim(slot, &key, &made)) return -1;
  }
  count(FLOW_NEW, skb->len);
  if (port == p->from_port) return port;
  count(FLOW_CLASH, skb->len);
  made.port = port;
  before = map_lookup(&flows, &moved);
  if (before) before->port = port;
  else if (claim(slot, &moved, &made)) return -1;
  return port;
}

INLINE int same_mac(const u16 *a, const u8 *mac) {
  const u16 *b = (const u16 *)mac;
  return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

/** By the datapath, which is the first guest's; what others send would come to nobody. */
INLINE int to_world(struct __sk_buff *skb, const struct config *config, int is_first, int is_ip) {
  u16 to[3];
  // To the gateway that there is none of: the pod's stack knows who is on its link.
  if (is_ip && (config->flags & NO_NEXT_HOP) && !load_bytes(skb, 0, to, sizeof to) && same_mac(to, config->alias_mac)) {
    count(FROM_GUEST, skb->len);
    return config->flags & POD_HAS_ADDRESSES ? redirect_neighbour(config->link, 0, 0, 0) : drop(skb, CLOSED);
  }
  if (is_first) return NEXT;
  count(FROM_GUEST, skb->len);
  return redirect(config->link, 0);
}

SECTION("tc/podtap_lh_tap") int from_guest(struct __sk_buff *skb) {
  struct config *config = config_of();
  if (!config) return NEXT;
  u32 ifindex = skb->ifindex;
  u32 *found = map_lookup(&slots, &ifindex);
  if (!found) return drop(skb, FOREIGN);
  u32 slot = *found & (GUESTS - 1);
  int is_first = ifindex == config->first_tap;
  u16 mac[3];
  if (skb->vlan_present) return is_first ? NEXT : drop(skb, FOREIGN);

  if (skb->protocol == BE16(ETH_P_ARP)) {
    struct arp arp;
    if (load_arp(skb, &arp)) return is_first ? NEXT : drop(skb, FOREIGN);
    u32 target = address_of(arp.target_ip);
    if (arp.operation == BE16(1)) {
      if (is_alias(config, target)) return answer_arp(skb, &arp, config->alias_mac);
      if (config->gateway && target == config->gateway) return answer_arp(skb, &arp, config->gateway_mac);
    }
    if (is_first) return NEXT;
    u32 sender = address_of(arp.sender_ip);
    if (load_bytes(skb, 6, mac, sizeof mac) || !same_mac(mac, config->mac) || !same_mac(arp.sender_mac, config->mac) || (sender && index_of(config, sender) < 0))
      return drop(skb, SPOOFED);
    return to_world(skb, config, 0, 0);
  }
  if (skb->protocol != BE16(ETH_P_IP)) return is_first ? NEXT : drop(skb, FOREIGN);

  u32 to;
  if (load_bytes(skb, IP_AT + TO, &to, sizeof to)) return is_first ? NEXT : drop(skb, FAILED);
  int is_local = is_alias(config, to) || is_loopback(to);
  struct packet p;
  if (is_local) {
    if (parse(skb, &p)) return drop(skb, CLOSED);
    return to_localhost(skb, config, slot, &p);
  }
  if (!(config->flags & SEVERAL)) return to_world(skb, config, 1, 1);
  if (parse(skb, &p)) return is_first ? NEXT : drop(skb, FAILED);
  int index = index_of(config, p.is_error ? p.sender : p.from);
  if (!is_first && (index < 0 || load_bytes(skb, 6, mac, sizeof mac) || !same_mac(mac, config->mac))) return drop(skb, SPOOFED);
  if (index < 0 || p.is_later) return to_world(skb, config, is_first, 1);
  if (p.protocol == TCP || p.protocol == UDP || (p.protocol == ICMP && (p.is_error || p.type == ECHO_REQUEST))) {
    int port = find_port(skb, config, slot, (u32)index & (ADDRESSES - 1), &p);
    if (port < 0) return drop(skb, FLOW_LOST);
    struct place place = {p.from, p.to, (u16)port, p.to_port};
    if (rewrite(skb, &p, &place)) return drop(skb, FAILED);
  }
  return to_world(skb, config, is_first, 1);
}

// ------------------------------------------------------------------ what the pod's processes send

SECTION("tc/podtap_lh_lo") int from_pod(struct __sk_buff *skb) {
  struct config *config = config_of();
  if (!config || skb->protocol != BE16(ETH_P_IP)) return NEXT;
  u32 addresses[2];
  if (load_bytes(skb, IP_AT + FROM, addresses, sizeof addresses)) return NEXT;
  u32 pod = config->addresses[0];
  int is_guest = (addresses[1] & BE32(0xfffffe00)) == config->loopback;
  if (!is_guest && addresses[1] != LOCALHOST && addresses[1] != pod) return NEXT;
  struct packet p;
  if (parse(skb, &p)) return is_guest ? drop(skb, CLOSED) : NEXT;
  struct place place = {0, 0, p.from_port, p.to_port};

  if (is_guest) {
    u32 last = LAST(p.to), slot = last & (GUESTS - 1);
    u32 tap = tap_of(slot);
    u32 literal = p.to & LITERAL_BIT;
    u32 *name = map_lookup(&names, &p.from);
    if (!tap || !name) return drop(skb, CLOSED);
    if (!p.is_later) {
      if (p.protocol != TCP && p.protocol != UDP) return drop(skb, CLOSED);
      struct port_key answering = {ALL_BITS, p.from, p.protocol, 0, p.from_port};
      struct target *target = map_lookup(&answers, &answering);
      if (!target) return drop(skb, CLOSED);
      place.from_port = BE16((u16)(BE16(p.from_port) + target->shift));
    }
    place.from = literal ? p.from : *name;
    place.to = config->addresses[last >> 6 & (ADDRESSES - 1)];
    if (rewrite(skb, &p, &place)) return drop(skb, FAILED);
    count(FROM_SERVICE, skb->len);
    return to_tap(skb, config, tap);
  }

  // Only from the same address there is a way back.
  if (p.from != p.to || p.is_later) return NEXT;
  u32 slot = owner_of(p.protocol, p.to_port);
  if (!slot) return NEXT;
  // A process may have the same port for its side of a connection with another one.
  if (socket_for(skb, p.protocol, p.from, p.from_port, p.to, p.to_port) == CONNECTED) return NEXT;
  u32 tap = tap_of(slot);
  if (!tap) return NEXT;
  if (p.protocol == UDP && !p.is_error) {
    struct flow_key key = {p.from, slot, p.from_port, p.to_port, UDP, POD, 0};
    struct flow flow = {slot, 0, 0, now()};
    if (!flow_of(&key) && claim(0, &key, &flow)) return drop(skb, FLOW_LOST);
  }
  u32 mtu = 0;
  if (check_mtu(skb, tap, &mtu, 0, 0) > 0) return drop(skb, TOO_LONG);
  place.from = WITH_LAST(config->aliases, p.from == LOCALHOST ? LOCALHOST_ALIAS : POD_ALIAS);
  place.to = pod;
  if (rewrite(skb, &p, &place)) return drop(skb, FAILED);
  count(FROM_SIDECAR, skb->len);
  return to_tap(skb, config, tap);
}

// ------------------------------------------------------------------ what comes by the pod's interface

/** Not to the first one, whose datapath has the frame next. */
INLINE void clone_to_others(struct __sk_buff *skb, const struct config *config) {
  for (u32 slot = 1; slot < GUESTS; slot++) {
    u32 index = slot, tap = tap_of(index);
    if (!tap || tap == config->first_tap) continue;
    clone_redirect(skb, tap, 0);
    count(CLONED, skb->len);
  }
}

INLINE int deliver(struct __sk_buff *skb, const struct config *config, u32 slot) {
  u32 tap = tap_of(slot);
  if (!tap) return drop(skb, FAILED);
  return tap == config->first_tap ? NEXT : redirect(tap, 0);
}

/** Whose a packet is: a slot, 0 for the first guest, POD. Its ports become what they are there. */
INLINE u32 whose(struct __sk_buff *skb, const struct config *config, const struct packet *p, struct place *place) {
  int has_ports = p->protocol == TCP || p->protocol == UDP;
  int found = NO_SOCKET;
  if (has_ports && (config->flags & POD_HAS_ADDRESSES))
    found = socket_for(skb, p->protocol, p->from, p->from_port, p->to, p->to_port);
  // What the pod has begun is its, whatever a guest says of the same ports.
  if (found == CONNECTED) goto pod;
  if ((config->flags & SEVERAL) && (has_ports || (p->protocol == ICMP && (p->is_error || p->type == ECHO_REPLY)))) {
    struct flow_key key = {p->from, p->to, p->from_port, p->to_port, p->protocol, WORLD, 0};
    if (p->protocol == ICMP) key.remote_port = 0;
    struct flow *flow = flow_of(&key);
    if (flow) {
      place->to_port = flow->port;
      if (p->protocol == ICMP) place->from_port = flow->port;
      count(TO_FLOW, skb->len);
      return flow->slot & (GUESTS - 1);
    }
  }
  u32 slot = has_ports ? owner_of(p->protocol, p->to_port) : 0;
  if (slot) {
    count(TO_OWNER, skb->len);
    return slot;
  }
  // A UDP socket that is not connected may be that of a resolver which waits for its upstream: nothing tells it from a server's.
  if (found == LOOSE && (p->protocol == UDP || (config->flags & LISTENERS))) goto pod;
  count(TO_FIRST, skb->len);
  return 0;
pod:
  count(TO_POD, skb->len);
  return POD;
}

/** A program holds the maps that it names: this one all of them, so that whoever finds it has them, whatever became of the TAPs. */
INLINE int hold_all(void) {
  u32 zero = 0;
  struct port_key port = {};
  return map_lookup(&told, &zero) && map_lookup(&slots, &zero) && map_lookup(&services, &port) && map_lookup(&answers, &port) &&
         map_lookup(&hosts, &zero) && map_lookup(&names, &zero) && map_lookup(&cells, &zero) && map_lookup(&heads, &zero);
}

/** Whether IPv6 comes for a socket of the pod's own; of packets without extension headers. All else is the first guest's. */
INLINE int is_pods_ipv6(struct __sk_buff *skb, const struct config *config) {
  struct ipv6 ip;
  struct bpf_sock_tuple6 tuple;
  u16 ports[2];
  u8 type;
  if (load_bytes(skb, IP_AT, &ip, sizeof ip)) return 0;
  u32 at = IP_AT + sizeof ip;
  u8 protocol = ip.next;
  int turned = 0;
  if (protocol == ICMPV6) {
    if (load_bytes(skb, at, &type, 1) || type >= 128) return 0;
    at += 8;
    if (load_bytes(skb, at, &ip, sizeof ip)) return 0;
    at += sizeof ip;
    protocol = ip.next;
    turned = 1;
  }
  if ((protocol != TCP && protocol != UDP) || load_bytes(skb, at, ports, sizeof ports)) return 0;
  __builtin_memcpy(tuple.saddr, turned ? ip.to : ip.from, 16);
  __builtin_memcpy(tuple.daddr, turned ? ip.from : ip.to, 16);
  tuple.sport = turned ? ports[1] : ports[0];
  tuple.dport = turned ? ports[0] : ports[1];
  int found = find_socket(skb, protocol, &tuple, sizeof tuple);
  if (found == LOOSE) return !owner_of(protocol, tuple.dport) && (protocol == UDP || (config->flags & LISTENERS));
  return found == CONNECTED;
}

INLINE int from_link_ipv6(struct __sk_buff *skb, const struct config *config) {
  u8 next, type;
  if (!(config->flags & POD_HAS_ADDRESSES) || load_bytes(skb, IP_AT + 6, &next, 1)) return NEXT;
  if (next == ICMPV6 && !load_bytes(skb, IP_AT + sizeof(struct ipv6), &type, 1) && type == NEIGHBOR_ADVERTISEMENT) {
    clone_redirect(skb, config->first_tap, 0);
    count(CLONED, skb->len);
    return PASS;
  }
  if (!is_pods_ipv6(skb, config)) return NEXT;
  count(TO_POD, skb->len);
  return PASS;
}

SECTION("tc/podtap_lh_link") int from_link(struct __sk_buff *skb) {
  struct config *config = config_of();
  if (!config) return hold_all() ? DROP : NEXT;
  if (skb->vlan_present) return NEXT;
  if (skb->protocol == BE16(ETH_P_ARP)) {
    struct arp arp;
    if (load_arp(skb, &arp)) return NEXT;
    u32 target = address_of(arp.target_ip), sender = address_of(arp.sender_ip);
    if (is_loopback(target) || is_alias(config, target) || is_loopback(sender) || is_alias(config, sender)) return drop(skb, MARTIAN);
    if (arp.operation == BE16(1) && target != sender) {
      if (!(config->flags & SEVERAL) || index_of(config, target) < 0) return NEXT;
      return answer_arp(skb, &arp, config->mac);
    }
    // An answer, or an announcement: whoever asked must have it.
    clone_to_others(skb, config);
    if (!(config->flags & POD_HAS_ADDRESSES)) return NEXT;
    clone_redirect(skb, config->first_tap, 0);
    count(CLONED, skb->len);
    return PASS;
  }
  if (skb->protocol == BE16(ETH_P_IPV6)) return from_link_ipv6(skb, config);
  if (skb->protocol != BE16(ETH_P_IP)) return NEXT;

  u32 addresses[2];
  if (load_bytes(skb, IP_AT + FROM, addresses, sizeof addresses)) return NEXT;
  if (is_loopback(addresses[0]) || is_alias(config, addresses[0]) || is_loopback(addresses[1]) || is_alias(config, addresses[1]))
    return drop(skb, MARTIAN);
  if (!(config->flags & (SEVERAL | POD_HAS_ADDRESSES))) return NEXT;
  // Not by pkt_type: under a bridge the interface has another MAC.
  u16 mac[3];
  if (load_bytes(skb, 0, mac, sizeof mac)) return NEXT;
  if (mac[0] & 1) {
    clone_to_others(skb, config);
    return NEXT;
  }
  if (!same_mac(mac, config->mac)) return NEXT;
  struct packet p;
  if (index_of(config, addresses[1]) < 0 || parse(skb, &p)) return NEXT;
  u32 slot;
  struct datagram datagram = {addresses[0], addresses[1], p.id, p.is_error ? ICMP : p.protocol, 0};
  if (p.is_later) {
    u32 *first = map_lookup(&datagrams, &datagram);
    if (!first) return NEXT;
    slot = *first;
  } else {
    struct place place = {p.from, p.to, p.from_port, p.to_port};
    slot = whose(skb, config, &p, &place);
    if (p.is_fragment) map_update(&datagrams, &datagram, &slot, BPF_ANY);
    if (rewrite(skb, &p, &place)) return drop(skb, FAILED);
  }
  if (slot == POD) return PASS;
  return slot ? deliver(skb, config, slot) : NEXT;
}

char its_license[] SECTION("license") = "GPL";
