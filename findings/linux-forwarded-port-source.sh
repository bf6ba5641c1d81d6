#!/usr/bin/env bash
# A peer that comes to a forwarded port of a socket it already talks to shows up at another port.
#
# Version
#   Linux 6.18.44 with nftables 1.0.6, from Debian; the script prints what it ran on.
#
# Behaviour
#   A host sends from port 4242 through a masquerading router to a peer at port 7000, which answers.
#   The router also forwards its port 5000 to the host's port 4242 (`dnat`). When the same peer sends
#   from port 7000 to the forwarded port, the datagram arrives, but its source is not port 7000: the
#   router has put another one there. The tuple of the answers (host:4242 to peer:7000) belongs to
#   the first flow, so connection tracking translates the source of the second one without any rule
#   that says so. A peer without a flow of that socket keeps its port. What the host answers to the
#   other port reaches the peer.
#
# Why it matters
#   A node that forwards a port announces it, and has long had a flow to many peers through the
#   router's other port. Each of these then seems to be behind a NAT that changes ports, although it
#   is not: who tells peers at which address they are seen tells them a port that only this router
#   knows, and who compares the source with an address that was announced finds no match. Proof of an
#   address by its source has to allow for that.
#
# What the script does
#   Three network namespaces of its own: peers, router, host. Two peers send one datagram each to the
#   forwarded port, first one that the host has never sent to, then one that it has. The input is
#   valid. It needs bash, python3, iproute2, nftables and user namespaces (unshare).
#
# Output
#   Linux 6.18.44, nftables v1.0.6 (Lester Gooch #5)
#   the host has a flow with 203.0.113.9:7000, which sees it at 203.0.113.2:4242
#   peer without a flow: arrives from its own port; the answer comes from port 5000
#   peer with a flow: arrives from another port; the answer comes from port 5000
#   as described
#
# Exit status: 0 if the behaviour is as described above, 1 if it is not.
set -euo pipefail

if [[ ${1:-} != inside ]]; then
    exec unshare --user --map-root-user --net --mount bash "$0" inside
fi

mount -t tmpfs none /run
mkdir /run/netns
for name in peers router host; do
    ip netns add "$name"
    ip -n "$name" link set lo up
done
join() { # two namespaces, an address of each
    ip link add "v$1" type veth peer name "v$3"
    ip link set "v$1" netns "$1"
    ip link set "v$3" netns "$3"
    ip -n "$1" addr add "$2/24" dev "v$1"
    ip -n "$3" addr add "$4/24" dev "v$3"
    ip -n "$1" link set "v$1" up
    ip -n "$3" link set "v$3" up
}
join peers 203.0.113.1 router 203.0.113.2
ip -n peers addr add 203.0.113.8/24 dev vpeers
ip -n peers addr add 203.0.113.9/24 dev vpeers
ip -n router link set vrouter name outside
join host 192.168.1.2 router 192.168.1.1
ip -n host route add default via 192.168.1.1
ip netns exec router sysctl -qw net.ipv4.ip_forward=1
ip netns exec router nft -f - <<'RULES'
table ip nat {
    chain before { type nat hook prerouting priority -100; iifname "outside" udp dport 5000 dnat to 192.168.1.2:4242; }
    chain after { type nat hook postrouting priority 100; oifname "outside" masquerade; }
}
RULES

echo "Linux $(uname -r | cut -d- -f1), $(nft --version)"
ip netns exec host python3 - <<'PYTHON'
import ctypes, os, socket

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000

def udp(namespace, ip, port):
    with open(f"/run/netns/{namespace}") as file:
        assert libc.setns(file.fileno(), CLONE_NEWNET) == 0
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((ip, port))
    sock.settimeout(2)
    return sock

known, fresh = udp("peers", "203.0.113.9", 7000), udp("peers", "203.0.113.8", 7000)
host = udp("host", "192.168.1.2", 4242)

host.sendto(b"first", ("203.0.113.9", 7000))
_, outside = known.recvfrom(100)
known.sendto(b"answer", outside)
host.recvfrom(100)
print(f"the host has a flow with 203.0.113.9:7000, which sees it at {outside[0]}:{outside[1]}")

seen = {}
for name, peer in [("without a flow", fresh), ("with a flow", known)]:
    peer.sendto(b"to the forwarded port", ("203.0.113.2", 5000))
    _, source = host.recvfrom(100)
    host.sendto(b"back", source)
    back, reply_from = peer.recvfrom(100)
    seen[name] = source[1]
    port = "its own port" if source[1] == 7000 else "another port"
    print(f"peer {name}: arrives from {port}; the answer comes from port {reply_from[1]}")

assert seen["without a flow"] == 7000, seen
assert seen["with a flow"] != 7000, seen
print("as described")
PYTHON
