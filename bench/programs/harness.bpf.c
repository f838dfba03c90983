// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * harness.bpf.c - makes BPF_PROG_TEST_RUN's repetitions alike.
 *
 * Gives the packet that the run before has changed its length and its bytes
 * again, puts a random address into it, and tail-calls the program under test.
 * The *_base programs do the same and tail-call an empty program: the difference
 * is the program's own time, and that of giving back the length; what that is,
 * other programs here are timed for. Tail calls with a constant index are direct
 * jumps once the slot is filled.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FRAME 128 /* covers all headers of all packets that are timed */

enum { SLOT_PROGRAM, SLOT_EMPTY, SLOTS };

struct mzb_recipe {
	__u32 restore;		/* 0: leave the packet alone */
	__u32 length;		/* of the packet; 0: the program does not change it */
	__u32 offset;		/* of a random address in network order; 0: none */
	__u32 first;		/* lowest address, host order */
	__u32 count;		/* how many there are, at least 1 */
	__u32 pad;
	__u64 seed;		/* of the generator, never 0 */
	__u64 frame[FRAME / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mzb_recipe);
} mzb_recipe SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} mzb_xdp_slots SEC(".maps"), mzb_tc_slots SEC(".maps");

/* xorshift64: a few cycles, no helper call. */
static __always_inline __u32 draw(struct mzb_recipe *recipe)
{
	__u64 x = recipe->seed;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	recipe->seed = x;
	return recipe->first + (__u32)(((x >> 32) * recipe->count) >> 32);
}

static __always_inline struct mzb_recipe *recipe_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&mzb_recipe, &zero);
}

static __always_inline void restore(struct mzb_recipe *recipe, void *data, void *data_end)
{
	__u16 *packet = data;

	if (!recipe || !recipe->restore || data + FRAME > data_end)
		return;
	__builtin_memcpy(packet, recipe->frame, FRAME);
	if (recipe->offset && recipe->offset <= FRAME - sizeof(__u32)) {
		__u32 addr = bpf_htonl(draw(recipe));
		void *at = data + (recipe->offset & (FRAME - 1));

		if (at + sizeof(addr) <= data_end)
			*(__u32 *)at = addr;
	}
}

/* Bytes that the program has put behind the Ethernet header go, and those that it took away come again. */
static __always_inline void restore_tc(struct __sk_buff *skb)
{
	struct mzb_recipe *recipe = recipe_get();
	int more = recipe && recipe->length ? (int)(skb->len - recipe->length) : 0;

	if (more)
		bpf_skb_adjust_room(skb, -more, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
	restore(recipe, (void *)(long)skb->data, (void *)(long)skb->data_end);
}

SEC("xdp")
int mzb_xdp(struct xdp_md *ctx)
{
	restore(recipe_get(), (void *)(long)ctx->data, (void *)(long)ctx->data_end);
	bpf_tail_call(ctx, &mzb_xdp_slots, SLOT_PROGRAM);
	return XDP_ABORTED;
}

SEC("xdp")
int mzb_xdp_base(struct xdp_md *ctx)
{
	restore(recipe_get(), (void *)(long)ctx->data, (void *)(long)ctx->data_end);
	bpf_tail_call(ctx, &mzb_xdp_slots, SLOT_EMPTY);
	return XDP_ABORTED;
}

SEC("xdp")
int mzb_xdp_empty(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}

SEC("tc")
int mzb_tc(struct __sk_buff *skb)
{
	restore_tc(skb);
	bpf_tail_call(skb, &mzb_tc_slots, SLOT_PROGRAM);
	return TC_ACT_SHOT;
}

SEC("tc")
int mzb_tc_base(struct __sk_buff *skb)
{
	restore_tc(skb);
	bpf_tail_call(skb, &mzb_tc_slots, SLOT_EMPTY);
	return TC_ACT_SHOT;
}

SEC("tc")
int mzb_tc_empty(struct __sk_buff *skb __attribute__((unused)))
{
	return TC_ACT_OK;
}

#define ROOM 50
#define ETH_LEN 14
#define ENCAP                                                                                    \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | \
	 BPF_F_ADJ_ROOM_ENCAP_L2(ETH_LEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)
#define ADJUST(bytes, flags) bpf_skb_adjust_room(skb, bytes, BPF_ADJ_ROOM_MAC, flags)
#define PLAIN BPF_F_ADJ_ROOM_FIXED_GSO

/*
 * What the harness adds to a run: each of the next three is mzb_tc_both and STEPS - 1 times more of one thing.
 * What that costs does not depend on how many bytes it is.
 */
#define STEPS 8
#define STEP 4

SEC("tc")
int mzb_tc_both(struct __sk_buff *skb)
{
	ADJUST(STEPS * STEP, PLAIN);
	ADJUST(-STEPS * STEP, PLAIN);
	return TC_ACT_OK;
}

SEC("tc")
int mzb_tc_take(struct __sk_buff *skb)
{
	ADJUST(STEPS * STEP, PLAIN);
#pragma unroll
	for (int i = 0; i < STEPS; i++)
		ADJUST(-STEP, PLAIN);
	return TC_ACT_OK;
}

SEC("tc")
int mzb_tc_put(struct __sk_buff *skb)
{
#pragma unroll
	for (int i = 0; i < STEPS; i++)
		ADJUST(STEP, PLAIN);
	ADJUST(-STEPS * STEP, PLAIN);
	return TC_ACT_OK;
}

/* Refused in all runs but the first, as the packet is a tunnel's then. */
SEC("tc")
int mzb_tc_refused(struct __sk_buff *skb)
{
#pragma unroll
	for (int i = 0; i < STEPS - 1; i++)
		ADJUST(ROOM, ENCAP);
	ADJUST(STEPS * STEP, PLAIN);
	ADJUST(-STEPS * STEP, PLAIN);
	return TC_ACT_OK;
}

/* The difference of these two on fresh packets is what no run after the first does. */
SEC("tc")
int mzb_tc_told(struct __sk_buff *skb)
{
	return ADJUST(ROOM, ENCAP) ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("tc")
int mzb_tc_untold(struct __sk_buff *skb)
{
	return ADJUST(ROOM, PLAIN) ? TC_ACT_SHOT : TC_ACT_OK;
}

/*
 * What no program that encapsulates can do without, and nothing else: the room for 50 bytes, the bytes, and the
 * redirect with a next hop. Where this ends, a program's own work begins. As the programs do, it makes room
 * without telling of a tunnel where the packet is one already.
 */
SEC("tc")
int mzb_tc_floor(struct __sk_buff *skb)
{
	struct bpf_redir_neigh hop;
	__u16 *word;

	if (ADJUST(ROOM, ENCAP) && ADJUST(ROOM, PLAIN))
		return TC_ACT_SHOT;
	word = (void *)(long)skb->data + ETH_LEN;
	if ((void *)word + ROOM > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	__builtin_memset(word, 0x45, ROOM);
	__builtin_memset(&hop, 0, sizeof(hop));
	hop.nh_family = 2; /* AF_INET */
	hop.ipv4_nh = bpf_htonl(0x7f000001);
	return bpf_redirect_neigh(1, &hop, sizeof(hop), 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
