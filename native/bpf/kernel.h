// What programs need of the kernel's interface, and no more: no header of a distribution, so that the same source gives
// the same bytecode everywhere. uapi/linux/bpf.h, uapi/linux/if_ether.h, uapi/linux/pkt_cls.h.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static __attribute__((always_inline))

/** Constants of the network's byte order; programs are compiled for little-endian machines. */
#define BE16(x) ((u16)((((x)&0xff) << 8) | (((x) >> 8) & 0xff)))
#define BE32(x) ((u32)__builtin_bswap32(x))

/** How scripts/bpf.mjs reads maps: struct map in the section "maps". */
struct map {
  u32 type;
  u32 key_size;
  u32 value_size;
  u32 max_entries;
  u32 flags;
};
#define MAP(name) struct map SECTION("maps") name

enum {
  BPF_MAP_TYPE_HASH = 1,
  BPF_MAP_TYPE_ARRAY = 2,
  BPF_MAP_TYPE_PERCPU_ARRAY = 6,
  BPF_MAP_TYPE_LRU_HASH = 9,
  BPF_MAP_TYPE_LPM_TRIE = 11,
};

struct __sk_buff {
  u32 len;
  u32 pkt_type;
  u32 mark;
  u32 queue_mapping;
  u32 protocol;
  u32 vlan_present;
  u32 vlan_tci;
  u32 vlan_proto;
  u32 priority;
  u32 ingress_ifindex;
  u32 ifindex;
  u32 tc_index;
  u32 cb[5];
  u32 hash;
  u32 tc_classid;
  u32 data;
  u32 data_end;
};

/** Flags of maps. */
enum { BPF_F_NO_PREALLOC = 1 };
/** Of map_update. */
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };

/** A socket, as far as a program may read it; the port on this side in the machine's order. */
struct bpf_sock {
  u32 bound_dev_if;
  u32 family;
  u32 type;
  u32 protocol;
  u32 mark;
  u32 priority;
  u32 src_ip4;
  u32 src_ip6[4];
  u32 src_port;
  u16 dst_port;
  u16 padding;
  u32 dst_ip4;
  u32 dst_ip6[4];
  u32 state;
  s32 rx_queue_mapping;
};
/** Of IPv4; as in a packet that comes to the socket. */
struct bpf_sock_tuple {
  u32 saddr;
  u32 daddr;
  u16 sport;
  u16 dport;
};
struct bpf_sock_tuple6 {
  u32 saddr[4];
  u32 daddr[4];
  u16 sport;
  u16 dport;
};
enum { TCP_LISTEN = 10 };
/** As the namespace of a socket lookup: that of the packet's interface. */
#define CURRENT_NETNS ((u64)-1)

/** Of bpf_redirect(): it comes in there, instead of going out. */
enum { BPF_F_INGRESS = 1 };
/** Of l4_replace, beside the length of what is replaced: it stands in the pseudo header too; a sum of 0 stays 0, as UDP has it. */
enum { BPF_F_PSEUDO_HDR = 0x10, BPF_F_MARK_MANGLED_0 = 0x20 };

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const map_delete)(void *map, const void *key) = (void *)3;
static u32 (*const random32)(void) = (void *)7;
static long (*const store_bytes)(struct __sk_buff *skb, u32 offset, const void *from, u32 length, u64 flags) = (void *)9;
static long (*const l3_replace)(struct __sk_buff *skb, u32 offset, u64 was, u64 is, u64 size) = (void *)10;
static long (*const l4_replace)(struct __sk_buff *skb, u32 offset, u64 was, u64 is, u64 flags) = (void *)11;
static long (*const clone_redirect)(struct __sk_buff *skb, u32 ifindex, u64 flags) = (void *)13;
static long (*const redirect)(u32 ifindex, u64 flags) = (void *)23;
static long (*const load_bytes)(const struct __sk_buff *skb, u32 offset, void *to, u32 length) = (void *)26;
static struct bpf_sock *(*const sk_lookup_udp)(void *skb, void *tuple, u32 size, u64 netns, u64 flags) = (void *)85;
static long (*const sk_release)(void *sk) = (void *)86;
static struct bpf_sock *(*const skc_lookup_tcp)(void *skb, void *tuple, u32 size, u64 netns, u64 flags) = (void *)99;
static long (*const redirect_neighbour)(u32 ifindex, void *parameters, s32 length, u64 flags) = (void *)152;
static u64 (*const ktime_coarse)(void) = (void *)160;
static long (*const check_mtu)(void *skb, u32 ifindex, u32 *mtu, s32 more, u64 flags) = (void *)163;

enum {
  /** TCX_NEXT, and TC_ACT_UNSPEC of cls_bpf with direct action: who comes next decides, the stack in the end. */
  NEXT = -1,
  /** TCX_PASS, TC_ACT_OK: to the stack, past all that would come next. */
  PASS = 0,
  /** TCX_DROP, TC_ACT_SHOT. */
  DROP = 2,
};

enum { ETH_P_IP = 0x0800, ETH_P_ARP = 0x0806, ETH_P_IPV6 = 0x86dd };
