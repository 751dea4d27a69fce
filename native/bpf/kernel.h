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

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const clone_redirect)(struct __sk_buff *skb, u32 ifindex, u64 flags) = (void *)13;
static long (*const load_bytes)(const struct __sk_buff *skb, u32 offset, void *to, u32 length) = (void *)26;

enum {
  /** TCX_NEXT, and TC_ACT_UNSPEC of cls_bpf with direct action: who comes next decides, the stack in the end. */
  NEXT = -1,
  /** TCX_DROP, TC_ACT_SHOT. */
  DROP = 2,
};

enum { ETH_P_IP = 0x0800, ETH_P_ARP = 0x0806, ETH_P_IPV6 = 0x86dd };
