"""Which part of a packet's way a sample belongs to: by the functions on its stack.

The function nearest to the sampled one that is of a known part decides: memory, locks and string
functions belong to whoever called them. The names are those of Linux 5.10 to 6.18; a function that
no pattern knows leaves its time with its caller, and what no caller knows is "other".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

RULES, TRACKING, NAT = "netfilter rules", "connection tracking", "NAT"
BPF, TUNNEL, ROUTING = "BPF programs", "tunnel", "routing and IP"
DEVICES, SOCKETS, COPIES = "devices and queues", "TCP and sockets", "copies"
WAKING, INTERRUPTS = "wake-ups and scheduling", "interrupts and timers"
CALLS = "system calls and page faults"
PROGRAMS, AGENTS, SAMPLING, OTHER = (
    "client and server",
    "CNI agents",
    "the sampling itself",
    "other",
)

PARTS: Final = (
    RULES, TRACKING, NAT, BPF, TUNNEL, ROUTING, DEVICES, SOCKETS, COPIES, WAKING, CALLS,
    INTERRUPTS, PROGRAMS, AGENTS, SAMPLING, OTHER,
)  # fmt: skip
"""In the order in which they are shown."""

UNTIL: Final = "until a woken task runs"
"""What is no function, but time of a task that has been woken."""

AGENTS_FOLDER: Final = "agents"
"""Of a node's cgroup: those of its CNI's components are below it."""

_FUNCTIONS: Final = {
    RULES: """
        nf_ nft_ ipt_ ip6t_ iptable_ ip6table_ xt_ ip_set_ hash_ip hash_net set_match
        ip_packet_match expr_call_ops""",
    TRACKING: """
        nf_conntrack nf_ct nf_confirm nf_cth nf_defrag ipv4_conntrack ipv4_confirm ipv6_conntrack
        hash_conntrack resolve_normal_ct tcp_in_window early_drop gc_worker""",
    NAT: """
        nf_nat nf_csum nf_ip_route iptable_nat ip6table_nat nft_nat nft_masq masquerade
        inet_proto_csum""",
    BPF: """
        bpf_ cls_bpf tcf_ tc_run tcx_ sch_handle htab_ array_map percpu_array lru_ trie_lookup
        sock_map sk_skb_ cgroup_bpf xdp_ do_xdp skb_do_redirect lookup_elem""",
    # All operations here are TCP's: UDP is met as the outer packet of a tunnel only.
    TUNNEL: """
        vxlan geneve udp udpv6 iptunnel ip_tunnel gro_cells gre_ dst_cache metadata_dst
        skb_udp_tunnel encap_ skb_tunnel""",
    ROUTING: """
        ip_ ip4_ ip6_ ipv4_ ipv6_ fib rt_ mkroute neigh arp_ dst_ find_exception l3mdev
        inet_select inet_addr inet_dev raw_local icmp""",
    DEVICES: """
        veth netkit dev_ netif netdev_ process_backlog net_rx net_tx napi br_ sch_ qdisc pfifo fq_
        noqueue validate_xmit enqueue_to_backlog eth_ loopback handle_softirqs do_softirq
        local_bh_enable get_rps_cpu gro_ skb_gso skb_segment skb_gro tcp_gso tcp4_gso tcp_gro
        tcp4_gro inet_gso inet_gro udp4_gro skb_mac_gso harmonize_features skb_network_protocol
        vlan_ deliver_skb sk_tx_queue skb_tx_hash skb_flow flow_dissect skb_get_hash skb_scrub
        rps_ xps_ run_ksoftirqd packet_rcv tpacket passthru_features ifb_""",
    SOCKETS: """
        tcp bpf_skops inet sock sk_ release_sock lock_sock sockfs bictcp cubictcp bbr_ reno mptcp
        secure_tcp reuseport move_addr csk_ skb_entail skb_page_frag skb_rbtree sys_send sys_recv
        sys_connect sys_accept sys_socket sys_bind sys_shutdown sys_setsockopt sys_getsockopt
        minmax kernel_sendmsg kernel_recvmsg""",
    COPIES: """
        copy_to_iter copy_from_iter copy_to_user copy_from_user copy_user rep_movs copy_page
        raw_copy skb_datagram_iter skb_copy simple_copy_to_iter memcpy_to_iter memcpy_from_iter
        skb_do_copy csum_partial skb_checksum csum_and_copy""",
    WAKING: """
        schedule sched_ try_to_wake ttwu enqueue_ dequeue_ pick_next pick_task pick_eevdf
        update_curr update_load update_rq update_cfs update_se update_min update_process
        select_task select_idle finish_task finish_wait default_wake autoremove_wake wake ep_
        do_epoll do_ep epoll futex do_futex set_next put_prev switch_ psi_ wait_woken woken
        prepare_to_wait nanosleep do_nanosleep hrtimer_nanosleep hrtimer_start hrtimer_wakeup
        hrtimer_try hrtimer_cancel hrtimer_sleeper hrtimer_init hrtimer_setup sock_poll
        sock_def_readable sock_def_write sk_stream_write place_entity reweight avg_vruntime
        resched apic_ x2apic send_call_function smp_call native_smp native_send preempt_schedule
        load_balance newidle attach_task detach_task attach_entity detach_entity cpuacct
        cgroup_account clear_buddies wakeup_preempt check_preempt llist_ kick_ flush_smp_call
        call_function_single rseq task_tick task_rq yield flush_tlb""",
    CALLS: """
        asm_exc exc_page bpf_lsm_ do_syscall entry_SYSCALL syscall_ x64_sys arm64_sys se_sys
        do_sys sys_ ksys vfs_ new_sync fdget fput exit_to_user rw_verify security_ fd_install
        alloc_fd close_fd filp_ file_ pipe_ anon_pipe do_writev do_readv do_iter do_pipe do_read
        do_write el0_ invoke_syscall task_work audit ret_from_fork prepare_creds d_alloc d_inst
        dput dentry iput evict destroy_inode new_inode alloc_file alloc_inode alloc_empty inode_
        path_ arch_exit irqentry_exit_to_user fpregs""",
    INTERRUPTS: """
        asm_ sysvec common_interrupt hrtimer tick_ run_timer call_timer expire_timers run_hrtimer
        irq_ rcu_core rcu_do_batch rcu_nocb timer_ el1_ handle_irq clockevents note_gp""",
    SAMPLING: "perf_ ctx_sched event_sched visit_groups group_sched",
}
"""How functions of a part begin, leading underscores aside; the longest that fits a name counts."""
_PREFIXES: Final = {word: part for part, words in _FUNCTIONS.items() for word in words.split()}
_ENDS: Final = ((re.compile(r".*_(mt|tg)(_v?\d)?$"), RULES), (re.compile(r".*_fair$"), WAKING))
_PROGRAM: Final = re.compile(r"bpf_prog_[0-9a-f]{16}_?(.*)")
# What begins work that the function below it on the stack knows nothing of.
_BOUNDARY: Final = re.compile(r"handle_softirqs|__do_softirq|asm_(sysvec|common)|el1_interrupt")
_SUFFIX: Final = re.compile(r"(\.(isra|part|constprop|cold|llvm)(\.\d+)?)+$")


@dataclass(frozen=True, slots=True)
class Share:
    """Whose time a sample is: the part, and what of it: a function, a BPF program, an agent."""

    part: str
    what: str


def plain(symbol: str) -> str:
    """A function's name without what a compiler has added."""
    return _SUFFIX.sub("", symbol)


@cache
def program_of(symbol: str) -> str | None:
    """The name of the BPF program that a symbol is; None where it is none."""
    found = _PROGRAM.match(symbol)
    return (found[1] or symbol) if found else None


@cache
def part_of(symbol: str) -> str | None:
    """The part that a function belongs to; None where its caller has to tell."""
    for pattern, part in _ENDS:
        if pattern.match(symbol):
            return part
    name = symbol.lstrip("_")
    return next(
        (_PREFIXES[name[:n]] for n in range(len(name), 0, -1) if name[:n] in _PREFIXES), None
    )


def share(stack: Sequence[str], place: str) -> Share:
    """Whose time a sample is.

    :param stack: the kernel's functions, the sampled one first; none where a program itself ran.
    :param place: where its task belongs in its node's cgroup: "" for pods, ``agents/<component>``.
    """
    folder, _, component = place.partition("/")
    if folder == AGENTS_FOLDER:
        return Share(AGENTS, component)
    if not stack:
        return Share(PROGRAMS, "outside the kernel")
    # A program calls helpers only, and what they call is its work; packets that it has sent on
    # are carried after its end.
    for symbol in stack:
        if (name := program_of(symbol)) is not None:
            return Share(BPF, name)
        if _BOUNDARY.match(symbol):
            break
    for symbol in stack:
        if (part := part_of(symbol)) is not None:
            return Share(part, symbol)
    return Share(OTHER, stack[0])
