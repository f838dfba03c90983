/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi.h - everything that the programs and user space share.
 *
 * Enums, limits, map names, keys, values and the wire format of our Geneve
 * options stand here and nowhere else. The Python side (mizar/abi) packs and
 * unpacks the same structs; tests/abi compares sizes, offsets and enum values
 * with the BTF of the compiled objects, so a field that moves on one side only
 * fails a test.
 *
 * What holds:
 *  - Every struct has explicit padding and a size that is asserted below.
 *  - Addresses, ports and Geneve fields are in network byte order (__be*);
 *    VNIs, ids, slots and times are in host byte order.
 *  - IPv4 structs end in 4. IPv6 maps join beside them, never inside them.
 *  - MZ_ABI_VERSION changes with any layout; pins live below a directory of
 *    that name, so that an upgrade finds the old maps and can migrate them.
 */
#ifndef MIZAR_ABI_H
#define MIZAR_ABI_H

#include <linux/types.h>

#define MZ_ABI_VERSION 3

/* ------------------------------------------------------------- limits */

#define MZ_MAX_REPLICAS 15       /* bouncers that hold one shard */
#define MZ_MAX_DIVIDERS 16       /* dividers of one VPC */
#define MZ_MAX_ONLINK 4          /* IPv4 prefixes of one network */
#define MZ_MAX_SHARDS 4096       /* shards of one network, a power of two */
#define MZ_MAX_GENEVE_OPTIONS 63 /* 252 bytes of 4-byte options, RFC 8926 s3.4 */

/* Fixed room that the inner MTU leaves for the envelope, bytes. */
#define MZ_ENVELOPE 64

/* -------------------------------------------------------------- names */

/* Map sizes are defaults; the agent may change them before loading. */
#define MZ_HOSTS_MAX (16 * 1024)
#define MZ_VPCS_MAX (16 * 1024)
#define MZ_ROUTES4_MAX (64 * 1024)
#define MZ_SHARDS_MAX (128 * 1024)
#define MZ_LOCATIONS4_MAX (1024 * 1024)
#define MZ_ENDPOINTS4_MAX (64 * 1024)
#define MZ_PORTS_MAX (16 * 1024)
#define MZ_DIRECT4_MAX (192 * 1024)
#define MZ_STATS_MAX (64 * 1024)
#define MZ_FLOWS4_MAX (128 * 1024) /* entries: two a flow */
#define MZ_WATCHED_MAX MZ_STATS_MAX
#define MZ_FRAGS4_MAX (8 * 1024)
#define MZ_SERVICES4_MAX (64 * 1024)
#define MZ_MAGLEV4_MAX (256 * 1024) /* rows of MZ_MAGLEV_ROW places */
#define MZ_BACKENDS4_MAX (256 * 1024)
#define MZ_GATEWAYS4_MAX (16 * 1024)
#define MZ_OUTSIDE4_MAX (16 * 1024)
#define MZ_FLOATING4_MAX (16 * 1024)
#define MZ_FORWARDS4_MAX (64 * 1024)

/* -------------------------------------------------------------- wire */

#define MZ_GENEVE_PORT 6081

/* Experimental option class range is 0xFF00-0xFFFF, RFC 8926 s3.5. */
#define MZ_OPT_CLASS 0xFF4D

/* Option types; bit 7 (critical) is set where an ignorant receiver must drop. */
enum mz_opt_type {
	MZ_OPT_RTS = 0x01,      /* return to sender, on data packets */
	MZ_OPT_HERE = 0x02,     /* control: endpoint is on the sending host */
	MZ_OPT_FORGET = 0x03,   /* control: endpoint is not on the sending host */
	MZ_OPT_ECHO = 0x04,     /* control: is the data plane of this host alive */
	MZ_OPT_REDIRECT = 0x05, /* in place of RTS: send this flow to a backend */
};

/*
 * What the receiver of a packet with an RTS option may still do with it. It only
 * grows on the way, so a packet visits at most one divider and one bouncer.
 * PROBE is a direct packet that asks to be confirmed; if the endpoint has gone,
 * it may still start over, because nobody has looked it up yet.
 */
enum mz_hop {
	MZ_HOP_PROBE = 0,    /* may deliver; stale: may be sent to a divider or bouncer */
	MZ_HOP_DIVIDER = 1,  /* may divide, bounce, deliver */
	MZ_HOP_BOUNCER = 2,  /* may bounce, deliver */
	MZ_HOP_ENDPOINT = 3, /* may deliver */
};

/* Geneve fixed header, RFC 8926 s3.4, without bit fields. */
struct mz_geneve {
	__u8 ver_optlen; /* version, 2 bits; option length / 4, 6 bits */
	__u8 flags;      /* MZ_GENEVE_F_* */
	__be16 protocol; /* 0x6558, transparent Ethernet */
	__be32 vni_rsvd; /* VNI << 8 */
};

#define MZ_GENEVE_F_CONTROL 0x80
#define MZ_GENEVE_F_CRITICAL 0x40

struct mz_geneve_opt {
	__be16 opt_class;
	__u8 type;
	__u8 length; /* low 5 bits: data length / 4 */
};

struct mz_opt_rts {
	struct mz_geneve_opt head;
	__be32 host; /* underlay address of the sender's host */
	__u8 hop;    /* enum mz_hop */
	__u8 rsvd[3];
};

/* HERE and FORGET: which endpoint is meant. The packet's VNI is that of the VPC in which its
 * receiver knows the address; @vni is that of the endpoint's own, if it is another one (peering). */
struct mz_opt_addr4 {
	struct mz_geneve_opt head;
	__be32 addr;
	__be32 vni; /* 0: that of the packet */
};

/*
 * A packet for a scaled endpoint, sent back by its bouncer to the sender's host, which is to translate it, send
 * it on, and do so itself with all that follow of its flow.
 */
struct mz_opt_redirect {
	struct mz_geneve_opt head;
	__be32 backend;  /* 0: there is none, refuse */
	__be16 port;     /* of the backend */
	__be16 affinity; /* 0: none; how long the client keeps its backend, mz_affinity_seconds() */
};

struct mz_opt_echo {
	struct mz_geneve_opt head;
	__be32 nonce;
	__u8 reply; /* 0 asks, 1 answers */
	__u8 rsvd[3];
};

/* Source MAC of everything the network itself says to an endpoint, and the
 * only MAC that an endpoint ever resolves: locally administered, the same for
 * every tenant. */
/* clang-format off */
#define MZ_ROUTER_MAC { 0x02, 0x4d, 0x5a, 0x00, 0x00, 0x01 }
/* clang-format on */
/* Gateway address of every endpoint: link-local, takes no tenant address. */
#define MZ_GATEWAY4 0xa9fe0101u /* 169.254.1.1, host byte order */

/*
 * What the MACs of the inner Ethernet header say: which endpoint is meant where that is not the one with the
 * IP address. First two bytes; the other four are an argument. Anything else: as the IP header says.
 */
enum mz_inner_mac {
	MZ_MAC_VIA =
		0x064d, /* + IPv4 address. Destination: for this endpoint. Source: forwarded by it */
	MZ_MAC_PREFER = 0x064e, /* + IPv4 address. Destination: of all backends, rather this one */
	MZ_MAC_PEER =
		0x064f, /* + VNI, 3 bytes, + 0. Source: the IP source is in this other VPC. + 1: forwarded from there */
	MZ_MAC_GATEWAY =
		0x0650, /* + 0. Destination: out of the VPC. Source: came in through a gateway */
};

/* ----------------------------------------------------------- verdicts */

/*
 * How a packet left a program, once per packet and program run. Index of
 * mz_verdicts. Those from MZ_DROP_FIRST on are drops; `mizar drops` shows them.
 * Names in lower case without the prefix are the names users see.
 */
enum mz_verdict {
	MZ_V_PASS = 0, /* not ours: to the host's own stack */
	/* endpoint program */
	MZ_V_LOCAL = 1,        /* delivered to an endpoint of this host */
	MZ_V_DIRECT = 2,       /* encapsulated to the endpoint's host */
	MZ_V_DIRECT_PROBE = 3, /* the same, and asks to be confirmed */
	MZ_V_TO_BOUNCER = 4,
	MZ_V_TO_DIVIDER = 5,
	MZ_V_TO_ENDPOINT_HOST = 6, /* own host was the bouncer */
	MZ_V_ARP_REPLY = 7,
	MZ_V_ICMP_REPLY = 8,   /* echo to the gateway */
	MZ_V_ICMP_TOO_BIG = 9, /* answered: fragmentation needed */
	MZ_V_ICMP_TTL = 10,    /* answered: time exceeded */
	/* transit program */
	MZ_V_DELIVERED = 11,      /* decapsulated into a local endpoint */
	MZ_V_DELIVERED_HERE = 12, /* the same, and the sender was told where */
	MZ_V_DIVIDED = 13,        /* on to a bouncer */
	MZ_V_BOUNCED = 14,        /* on to the endpoint's host */
	MZ_V_STALE = 15,          /* direct packet for a departed endpoint, passed on */
	MZ_V_LEARNT = 16,         /* HERE taken in */
	MZ_V_FORGOT = 17,         /* FORGET taken in */
	MZ_V_ECHO = 18,           /* ECHO answered */
	MZ_V_TO_TC = 19,          /* XDP hands over to the NIC's tcx program */
	/* services, either program */
	MZ_V_REDIRECTED = 20,     /* bouncer: backend picked, back to the sender's host */
	MZ_V_REFUSED = 21,        /* answered: RST or port unreachable, no backend */
	MZ_V_TO_GATEWAY = 22,     /* encapsulated to a gateway host */
	MZ_V_NAT_OUT = 23,        /* translated, out of the VPC */
	MZ_V_NAT_IN = 24,         /* translated, into the VPC */
	MZ_V_OUTSIDE_ARP = 25,    /* answered for an outside address of ours */
	MZ_V_ICMP_OUTSIDE = 26,   /* answered to the outside: too big, TTL expired */
	MZ_V_REDIRECT_TAKEN = 27, /* REDIRECT taken in, packet translated and on its way */
	/* drops: endpoint program */
	MZ_DROP_FIRST = 32,
	MZ_DROP_MALFORMED_ETH = 32,
	MZ_DROP_MALFORMED_ARP = 33,
	MZ_DROP_MALFORMED_IP = 34,
	MZ_DROP_UNKNOWN_PORT = 35, /* interface has no endpoint */
	MZ_DROP_SPOOFED_MAC = 36,
	MZ_DROP_SPOOFED_IP = 37,
	MZ_DROP_SPOOFED_ARP = 38,
	MZ_DROP_ARP_UNANSWERED = 39, /* probe, announcement, or outside the VPC */
	MZ_DROP_NOT_IPV4 = 40,
	MZ_DROP_MULTICAST = 41,  /* multicast, broadcast */
	MZ_DROP_TOO_BIG = 42,    /* over the MTU, may be fragmented, we do not */
	MZ_DROP_TTL = 43,        /* expired and no ICMP error is due */
	MZ_DROP_NO_ROUTE = 44,   /* address outside the VPC */
	MZ_DROP_NO_NETWORK = 45, /* in the VPC, in no network */
	MZ_DROP_NO_DIVIDER = 46,
	MZ_DROP_NO_BOUNCER = 47,
	MZ_DROP_NO_ENDPOINT = 48,  /* bouncer does not know the address */
	MZ_DROP_UNKNOWN_HOST = 49, /* next host is not in mz_hosts */
	MZ_DROP_GATEWAY = 50,      /* to the gateway address, not an echo request */
	/* drops: transit program */
	MZ_DROP_OUTER_MALFORMED = 51, /* outer IP or UDP header */
	MZ_DROP_OUTER_FRAGMENT = 52,
	MZ_DROP_FOREIGN_PEER = 53, /* sender is not a listed host */
	MZ_DROP_GENEVE_VERSION = 54,
	MZ_DROP_GENEVE_PROTOCOL = 55,
	MZ_DROP_GENEVE_TRUNCATED = 56,
	MZ_DROP_GENEVE_OPTION = 57,   /* option overruns, or ours with a wrong length */
	MZ_DROP_GENEVE_CRITICAL = 58, /* unknown critical option */
	MZ_DROP_GENEVE_CONTROL = 59,  /* control packet without a known option */
	MZ_DROP_INNER_MALFORMED = 60,
	MZ_DROP_INNER_NOT_IPV4 = 61,
	MZ_DROP_UNKNOWN_VNI = 62,
	MZ_DROP_NOT_HERE = 63, /* bounced to us, endpoint is not here */
	MZ_DROP_ECN = 64,      /* CE on a not-ECT packet, RFC 6040 s4.2 */
	/* drops: both */
	MZ_DROP_HELPER = 65,    /* a kernel helper refused */
	MZ_DROP_NO_CONFIG = 66, /* the agent has not configured us yet */
	/* drops: services, routes, gateways, in either program */
	MZ_DROP_NO_BACKEND = 67,     /* refused, and no answer is due */
	MZ_DROP_FRAGMENT = 68,       /* of a translated flow, before its first fragment */
	MZ_DROP_FLOWS_FULL = 69,     /* new flow, table is full */
	MZ_DROP_UNTRANSLATABLE = 70, /* protocol or ICMP message that cannot be translated */
	MZ_DROP_BLACKHOLE = 71,      /* a route says so */
	MZ_DROP_ROUTE_LOOP = 72,     /* the route leads back to the sender */
	MZ_DROP_NO_GATEWAY = 73,     /* no gateway host is known */
	MZ_DROP_NAT_EXHAUSTED = 74,  /* no free port for this peer */
	MZ_DROP_NAT_UNKNOWN =
		75, /* from outside, belongs to no flow, floating address or forward */
	MZ_DROP_OUTSIDE_TOO_BIG = 76, /* from outside, over the MTU, may be fragmented, we do not */
	MZ_DROP_NOT_CLIENT = 77,      /* REDIRECT for a flow of no endpoint here */
	MZ_VERDICT_MAX = 96,
};

/* --------------------------------------------------------------- maps */

/* mz_config: ARRAY[1], what the agent knows of the machine. */
struct mz_config {
	__be32 underlay_addr;
	__u32 underlay_ifindex;
	__u32 soft_ms; /* direct entry older: ask to be confirmed */
	__u32 hard_ms; /* direct entry older: back to the bouncer */
	__u8 underlay_mac[6];
	__u16 flags; /* MZ_CONFIG_F_* */
};

#define MZ_CONFIG_F_READY 0x1
#define MZ_CONFIG_F_GATEWAY 0x2 /* this host has outside addresses: mz_outside4 */

/* mz_hosts: buckets, be32 underlay address -> how to reach it. Also the list of
 * tunnel peers: who is not here is foreign. */
struct mz_host {
	__be32 nexthop;  /* 0: let the kernel route */
	__u32 mac_until; /* seconds, CLOCK_MONOTONIC; 0 or past: mac unknown */
	__u8 mac[6];
	__u16 flags; /* MZ_HOST_F_* */
};

#define MZ_HOST_F_SELF 0x1
#define MZ_HOST_F_DOWN 0x2 /* does not answer ECHO: choose another replica */

/* mz_vpcs: buckets, u32 VNI -> what this host is for the VPC. */
struct mz_vpc {
	__u32 flags; /* MZ_VPC_F_* */
	__u32 slot;  /* mz_stats slot of the divider role */
	__u32 n_dividers;
	__be32 dividers[MZ_MAX_DIVIDERS];
};

#define MZ_VPC_F_DIVIDER 0x1   /* this host divides the VPC */
#define MZ_VPC_F_BOUNCER 0x2   /* this host bounces for a network of it */
#define MZ_VPC_F_ENDPOINTS 0x4 /* this host has endpoints of it */
#define MZ_VPC_F_GATEWAY 0x8   /* this host is a gateway of it: mz_gateways4 */

/* mz_routes4: buckets, mz_route_number(). One row a prefix; see mz_lengths4. */
enum mz_route_kind {
	MZ_ROUTE_DIVIDER =
		1, /* in the VPC or a peer: ask a divider, as we do not know the networks */
	MZ_ROUTE_NETWORK = 2, /* a network, or the VPC's group space: shards are here */
	MZ_ROUTE_NONE = 3,    /* in the VPC or a peer, but in no network */
	MZ_ROUTE_BLACKHOLE = 4,
	MZ_ROUTE_APPLIANCE = 5, /* to the endpoint @target of the VPC, whatever the destination */
	MZ_ROUTE_GATEWAY = 6, /* out; gateway hosts are shard 0 of @network, 0: this host itself */
};

/*
 * Keys of routes have a VNI, or the number of a network's own table in place of it. A VPC's table is for all roles
 * of the host: what is in it says where prefixes are, not where users want them to go. So APPLIANCE, and whatever
 * a user has routed within a prefix of the VPC or of a peer, is in networks' own tables only, together with all
 * else that their endpoints reach: those with MZ_PORT_F_ROUTES use no other.
 */
#define MZ_TABLE_NETWORK 0x40000000u /* | network id */

struct mz_route {
	__u32 kind;    /* enum mz_route_kind */
	__u32 network; /* network id */
	__u32 shards;  /* number of shards, a power of two */
	__u32 target; /* DIVIDER, NETWORK, NONE: VNI of the peer VPC that it is in, or 0. APPLIANCE: address, __be32 */
};

/* mz_lengths4: buckets, u32 VNI -> the lengths of the prefixes in mz_routes4. The data plane's own: who
 * writes routes does not know it. */
struct mz_lengths4 {
	__u64 host_bits; /* bit i: there are prefixes with i host bits, so of length 32 - i */
};

/* mz_shards: buckets. Which bouncers hold a shard of a network. */
struct mz_shard_key {
	__u32 network;
	__u32 shard; /* mz_shard_of(), below route.shards */
};

struct mz_shard {
	__u32 n;
	__be32 hosts[MZ_MAX_REPLICAS];
};

/* Key of every table of IPv4 endpoints. */
struct mz_addr_key4 {
	__u32 vni;
	__be32 addr;
};

/* mz_locations4: buckets, mz_addr_key4. The bouncer's table. */
struct mz_location {
	__be32 host; /* 0: a scaled endpoint, see mz_services4 */
	__u32 slot;  /* mz_stats slot of the bouncer role of the network */
};

/* mz_endpoints4: buckets, mz_addr_key4. Endpoints of this host. */
struct mz_endpoint {
	__u32 ifindex; /* host side of the attachment */
	__u32 slot;    /* mz_stats slot of the endpoint */
	__u8 mac[6];
	__u16 flags; /* MZ_ENDPOINT_F_* */
};

#define MZ_ENDPOINT_F_PEER 0x1 /* veth: deliver with bpf_redirect_peer */

struct mz_prefix4 {
	__be32 addr;
	__be32 mask;
};

/* mz_ports: buckets, u32 ifindex -> who speaks on this interface. */
struct mz_port {
	__u32 vni;
	__be32 addr; /* first address; others are found in mz_endpoints4 */
	__u8 mac[6];
	__u16 mtu; /* inner MTU, bytes of IP packet */
	__u32 network;
	__u32 shards;
	__u32 slot;
	__u16 n_onlink;
	__u16 flags;                             /* MZ_PORT_F_* */
	struct mz_prefix4 onlink[MZ_MAX_ONLINK]; /* the network's prefixes; none: group network */
};

#define MZ_PORT_F_ROUTES 0x1   /* its network has a table of routes of its own: MZ_TABLE_NETWORK */
#define MZ_PORT_F_FORWARDS 0x2 /* may send what is not from its own addresses */

/* mz_direct4: sets, mz_addr_key4. Learnt from traffic. */
struct mz_direct {
	__be32 host;     /* 0: a scaled endpoint, ask mz_flows4 */
	__u32 confirmed; /* milliseconds, CLOCK_MONOTONIC, modulo 2^32 */
	__u32 vni;       /* of the endpoint: another one than the key's if it is in a peer VPC */
};

/*
 * A set of mz_direct4: the places in which a key may be, in two cache lines. See maps/direct4.h, which says
 * what holds.
 */
#define MZ_DIRECT_ROWS 3
#define MZ_DIRECT_LINES 2

struct mz_direct_line {
	__u64 keys[MZ_DIRECT_ROWS]; /* mz_addr_key4 as numbers; 0: a free place */
	struct mz_direct values[MZ_DIRECT_ROWS];
	__u32 version; /* of the first line: odd while the set is written */
};

struct mz_direct_set {
	struct mz_direct_line lines[MZ_DIRECT_LINES];
};

/* ------------------------------------------------------------ services */

/* mz_flows4: HASH. docs/design/services.md has the rules; times and states below. */
struct mz_flow_key4 {
	__u32 vni; /* 0: outside */
	__be32 src;
	__be32 dst;
	__be16 sport; /* ICMP echo: identifier in requests, 0 in replies */
	__be16 dport; /* ICMP echo: the other way round */
	__u8 proto;
	__u8 pad[3];
};

enum mz_flow_kind {
	MZ_FLOW_SERVICE = 1, /* client and scaled endpoint */
	MZ_FLOW_NAT = 2,     /* inside and outside */
	MZ_FLOW_VIA = 3, /* to the outside through gateway host @via, untranslated, no opposite */
	MZ_FLOW_AFFINITY =
		4, /* of client and service, source port 0: @dst is the backend, no opposite */
};

#define MZ_FLOW_S_REPLIED 0x1
#define MZ_FLOW_S_FIN_ORIG 0x2
#define MZ_FLOW_S_FIN_REPLY 0x4
#define MZ_FLOW_S_CLOSED 0x8   /* RST, ABORT, SHUTDOWN COMPLETE */
#define MZ_FLOW_S_REVERSE 0x80 /* the entry of the direction that answers */

/* What a packet becomes. The opposite entry has the key {vni, dst, src, dport, sport} of these. */
struct mz_flow4 {
	__be32 src;
	__be32 dst;
	__be16 sport;
	__be16 dport;
	__u32 vni;  /* in which it goes on; 0: outside */
	__be32 via; /* VIA: host */
	__u32 seen; /* seconds since boot, of the last packet, give or take one */
	__u32 asked; /* the same, of the last REDIRECT; AFFINITY: seconds that it lasts beyond @seen */
	__u8 state; /* MZ_FLOW_S_* */
	__u8 kind;  /* enum mz_flow_kind */
	__u16 pad;
};

/* mz_frags4: LRU_HASH. Ports of the first fragment, for the others. */
struct mz_frag_key4 {
	__u32 vni;
	__be32 src;
	__be32 dst;
	__be16 id;
	__u8 proto;
	__u8 pad;
};

struct mz_frag4 {
	__be16 sport;
	__be16 dport;
};

/* mz_watched: ARRAY by stats slot of an endpoint. The programs' own; cleared when a slot is given out. */
struct mz_watched {
	__u64 sources; /* bit mz_watched_bit(address): packets from there may need translation */
};

/* mz_services4: HASH. On bouncers: one port of a scaled endpoint. */
struct mz_service_key4 {
	__u32 vni;
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 pad;
};

struct mz_service4 {
	__u32 id;    /* of this host's own choice; rows of mz_maglev4 and mz_backends4 have it */
	__u32 size;  /* places of the Maglev table; 0: no backend */
	__be16 port; /* of the backends */
	__be16 affinity; /* as in mz_opt_redirect */
	__u32 slot;      /* mz_stats slot: tx counts flows that were given a backend */
};

/* mz_maglev4: HASH. @row is place / MZ_MAGLEV_ROW. */
#define MZ_MAGLEV_ROW 32

struct mz_maglev_key4 {
	__u32 service;
	__u32 row;
};

struct mz_maglev4 {
	__be32 backends[MZ_MAGLEV_ROW];
};

/* mz_backends4: HASH. The backends that flows may have; weight 0: no new ones. */
struct mz_backend_key4 {
	__u32 service;
	__be32 addr;
};

struct mz_backend4 {
	__u32 weight;
};

/* mz_gateways4: HASH, u32 VNI. On gateway hosts: from which addresses and ports flows go out. */
#define MZ_MAX_OUTSIDE 8

struct mz_gateway4 {
	__u32 ifindex;    /* outside interface */
	__u16 first_port; /* host byte order */
	__u16 last_port;
	__u32 flags; /* MZ_GATEWAY_F_* */
	__u32 slot;  /* mz_stats slot: tx out, rx in */
	__u32 n;
	__be32 addrs[MZ_MAX_OUTSIDE];
};

#define MZ_GATEWAY_F_HOST 0x1 /* addrs are the host's own: what has no flow is the host's */

/* mz_outside4: HASH, be32 address. Addresses outside that this host answers for. */
struct mz_outside4 {
	__be32 endpoint; /* floating: of this endpoint; 0: shared */
	__u32 vni;       /* floating: in this VPC */
	__u32 flags;     /* MZ_OUTSIDE_F_* */
};

#define MZ_OUTSIDE_F_HOST \
	0x1 /* the host's own address: what is not ours goes to its stack, no ARP */

/* mz_floating4: HASH mz_addr_key4, endpoint -> its address outside. */
struct mz_floating4 {
	__be32 addr;
};

/* mz_forwards4: HASH mz_service_key4. Port forwarding, two rows: {0, outside} -> inside and
 * {VPC, inside} -> outside. */
struct mz_forward4 {
	__u32 vni; /* 0: outside */
	__be32 addr;
	__be16 port;
	__u16 pad;
};

/* mz_stats: PERCPU_ARRAY. Slots are given out by the agent; slot 0 is nobody's.
 * tx: sent by the endpoint, or passed on in the role. rx: delivered to the endpoint. */
struct mz_stats {
	__u64 tx_packets;
	__u64 tx_bytes; /* bytes of inner Ethernet frames, GSO packets counted once per packet */
	__u64 rx_packets;
	__u64 rx_bytes;
};

/* mz_verdicts: PERCPU_ARRAY[MZ_VERDICT_MAX]. */
struct mz_count {
	__u64 packets;
	__u64 bytes;
};

/* mz_parts: global data. The data plane's own: for each table in buckets, the part of its array that is in
 * use, first bucket | number of buckets << 32. Close together, as every look-up needs one of them. */
struct mz_parts {
	__u64 factor; /* of tables whose keys a tenant can choose: secret */
	__u64 mz_hosts;
	__u64 mz_vpcs;
	__u64 mz_endpoints4;
	__u64 mz_ports;
	__u64 mz_direct4; /* in sets, and always all of the array */
	__u64 mz_locations4;
	__u64 mz_routes4;
	/* end of the first cache line */
	__u64 mz_lengths4;
	__u64 mz_shards;
};

/* mz_clock: PERCPU_ARRAY[1]. The programs' own. */
struct mz_clock {
	__u64 jiffies; /* when it was read */
	__u64 now_ms;  /* since boot */
};

/* mz_scratch: PERCPU_ARRAY[1]. The programs' own: what is too large for the stack, in one run. */
struct mz_scratch {
	__u64 words[16];
};

/* ------------------------------------------------------- shared arithmetic */

/* Finalizer of MurmurHash3 (public domain, Austin Appleby): full avalanche. */
static inline __u32 mz_mix32(__u32 h)
{
	h ^= h >> 16;
	h *= 0x85ebca6bu;
	h ^= h >> 13;
	h *= 0xc2b2ae35u;
	h ^= h >> 16;
	return h;
}

/*
 * A prefix of a VPC as one number. @addr in host byte order; @end is 1 << number of host bits. A bit
 * behind the address marks where the prefix ends: 33 bits for both.
 */
static inline __u64 mz_route_number(__u32 vni, __u32 addr, __u64 end)
{
	return (__u64)vni << 33 | ((__u64)addr << 1 & -(end << 1)) | end;
}

/* Shard of an address; @addr in host byte order, @shards a power of two. */
static inline __u32 mz_shard_of(__u32 addr, __u32 shards)
{
	return mz_mix32(addr) & (shards - 1);
}

static inline __u32 mz_watched_bit(__u32 addr)
{
	return mz_mix32(addr) & 63;
}

/* Of mz_opt_redirect, host byte order: seconds, or with the top bit minutes. */
static inline __u32 mz_affinity_seconds(__u32 affinity)
{
	return affinity & 0x8000 ? (affinity & 0x7fff) * 60 : affinity;
}

/* Seconds without a packet after which a flow of IP protocol @proto is dead. */
static inline __u32 mz_flow_timeout(__u32 proto, __u32 state)
{
	const __u32 fins = MZ_FLOW_S_FIN_ORIG | MZ_FLOW_S_FIN_REPLY;

	if (proto == 17) /* UDP, RFC 4787 REQ-5 */
		return state & MZ_FLOW_S_REPLIED ? 300 : 30;
	if (proto == 1) /* ICMP, RFC 5508 REQ-2 */
		return 60;
	if (proto != 6 && proto != 132)
		return 600;
	if (state & MZ_FLOW_S_CLOSED)
		return 10;
	if ((state & fins) == fins)
		return 120;
	if (state & fins)
		return 600;
	return state & MZ_FLOW_S_REPLIED ? 7440 : 60; /* RFC 5382 REQ-5 */
}

/* buckets.h: places in one bucket, buckets in which a key may be, and rows for which there is one
 * bucket: at most half of the places are used, so that each key finds one. The largest part of an array
 * leaves room for a part of this fraction of it, from which rows come. */
#define MZ_BUCKET_ROWS 4
#define MZ_BUCKET_REACH 16
#define MZ_BUCKET_SHARE 2
#define MZ_BUCKET_SPARE 4
#define MZ_BUCKET_GONE 0xffffffffffffffffull

#define MZ_BUCKET_FACTOR 0x9e3779b97f4a7c15ull

/*
 * Home of a key by multiplicative hashing; the high half depends on all bits of the key. With
 * a secret odd factor nobody can choose keys that share a home: mz_parts.
 */
static inline __u32 mz_bucket_of(__u64 key, __u64 factor, __u32 buckets)
{
	return ((key * factor >> 32) * buckets) >> 32;
}

/* The same as an index of the array; @part as in mz_parts. */
static inline __u32 mz_bucket_in(__u64 part, __u64 key, __u64 factor)
{
	return (__u32)part + mz_bucket_of(key, factor, part >> 32);
}

/* Where a key may be besides. */
static inline __u32 mz_bucket_after(__u64 part, __u32 index)
{
	__u32 first = part, size = part >> 32;

	return index + 1 - first < size ? index + 1 : first;
}

#define MZ_ASSERT_SIZE(type, size) _Static_assert(sizeof(struct type) == (size), "size of " #type)

MZ_ASSERT_SIZE(mz_geneve, 8);
MZ_ASSERT_SIZE(mz_geneve_opt, 4);
MZ_ASSERT_SIZE(mz_opt_rts, 12);
MZ_ASSERT_SIZE(mz_opt_addr4, 12);
MZ_ASSERT_SIZE(mz_opt_echo, 12);
MZ_ASSERT_SIZE(mz_opt_redirect, 12);
MZ_ASSERT_SIZE(mz_config, 24);
MZ_ASSERT_SIZE(mz_host, 16);
MZ_ASSERT_SIZE(mz_vpc, 76);
MZ_ASSERT_SIZE(mz_route, 16);
MZ_ASSERT_SIZE(mz_shard_key, 8);
MZ_ASSERT_SIZE(mz_shard, 64);
MZ_ASSERT_SIZE(mz_addr_key4, 8);
MZ_ASSERT_SIZE(mz_location, 8);
MZ_ASSERT_SIZE(mz_endpoint, 16);
MZ_ASSERT_SIZE(mz_prefix4, 8);
MZ_ASSERT_SIZE(mz_port, 64);
MZ_ASSERT_SIZE(mz_direct, 12);
MZ_ASSERT_SIZE(mz_direct_line, 64);
MZ_ASSERT_SIZE(mz_direct_set, 128);
MZ_ASSERT_SIZE(mz_flow_key4, 20);
MZ_ASSERT_SIZE(mz_flow4, 32);
MZ_ASSERT_SIZE(mz_frag_key4, 16);
MZ_ASSERT_SIZE(mz_frag4, 4);
MZ_ASSERT_SIZE(mz_watched, 8);
MZ_ASSERT_SIZE(mz_service_key4, 12);
MZ_ASSERT_SIZE(mz_service4, 16);
MZ_ASSERT_SIZE(mz_maglev_key4, 8);
MZ_ASSERT_SIZE(mz_maglev4, 128);
MZ_ASSERT_SIZE(mz_backend_key4, 8);
MZ_ASSERT_SIZE(mz_backend4, 4);
MZ_ASSERT_SIZE(mz_gateway4, 52);
MZ_ASSERT_SIZE(mz_outside4, 12);
MZ_ASSERT_SIZE(mz_floating4, 4);
MZ_ASSERT_SIZE(mz_forward4, 12);
MZ_ASSERT_SIZE(mz_stats, 32);
MZ_ASSERT_SIZE(mz_count, 16);
MZ_ASSERT_SIZE(mz_lengths4, 8);
MZ_ASSERT_SIZE(mz_parts, 80);
MZ_ASSERT_SIZE(mz_clock, 16);
MZ_ASSERT_SIZE(mz_scratch, 128);

#endif
