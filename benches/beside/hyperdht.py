#!/usr/bin/env python3
"""Time from a connect to the first byte of the peer, nodenet beside hyperdht.

Each pair of hosts is behind two routers of the kernel, in network namespaces, with 20 ms between
them one way. Both systems run in the same namespaces, and each round measures one after the other,
in turns which is first. A round has a new dialing node of each system, which has joined its network
and has no connection to its peer yet.

    sudo python3 benches/beside/hyperdht.py --nodenet target/release/nodenet --rounds 20

It needs root (TAP devices), iproute2, nftables, Node.js and npm. It installs a pinned hyperdht into
a temporary folder. The table goes to standard output; --json writes every measurement to a file.
"""

import argparse
import collections
import ctypes
import fcntl
import json
import os
import queue
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

HYPERDHT = "6.34.0"
# Nodes with public addresses, of each system. A node of nodenet has some forty edges, so that a
# smaller network would already connect the two ends.
NODENET_NODES = 60
HYPERDHT_NODES = 8
VOLUNTEERS = 3
DELAY_MS = 10  # of each site; between two sites 20
KINDS = ["public", "easy", "open", "random"]
CONNECT_S = 30


def run(*words, ns=None):
    prefix = ["ip", "netns", "exec", ns] if ns else []
    done = subprocess.run([*prefix, *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join([*prefix, *words])} failed: {done.stderr.strip()}")


def ip(ns, line):
    run("ip", *(["-n", ns] if ns else []), *line.split())


class Process:
    """A process in a namespace that prints JSON lines, each noted with the time of its arrival."""

    def __init__(self, ns, words, on_line=None, cwd=None):
        self.lines = queue.Queue()
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", ns, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        )
        self.on_line = on_line
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            at = time.monotonic()
            line = json.loads(line)
            if self.on_line:
                self.on_line(self, line)
            self.lines.put((at, line))

    def say(self, line):
        self.process.stdin.write((json.dumps(line) + "\n").encode())
        self.process.stdin.flush()

    def wait(self, wanted, seconds):
        """The first line that is wanted, with its time, or nothing."""
        until = time.monotonic() + seconds
        while True:
            try:
                at, line = self.lines.get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                return None
            if wanted(line):
                return at, line

    def stop(self):
        self.process.kill()
        self.process.wait()


class Lab:
    """Two sites, the public nodes, and the routers between them."""

    def __init__(self, name):
        self.name, self.namespaces, self.relays = name, [], []
        self.addresses = [f"198.18.{n}.1" for n in range(1, 1 + NODENET_NODES)]

    def build(self, kinds, routers):
        chain = [self.ns(f"c{n}") for n in range(routers - 2)]
        for ns in chain:
            run("sysctl", "-qw", "net.ipv4.ip_forward=1", ns=ns)
        public = self.ns("public")
        for n, (left, right) in enumerate(zip(chain, chain[1:])):
            self.link(left, f"r{n}", right, f"l{n}", f"198.19.{100 + n}")
            ip(right, f"route add default via 198.19.{100 + n}.1")
            ip(left, f"route add 198.19.2.0/24 via 198.19.{100 + n}.2")
            ip(left, f"route add 198.19.12.0/24 via 198.19.{100 + n}.2")
        self.link(chain[0], "public", public, "core", "198.19.200")
        ip(public, "route add default via 198.19.200.1")
        for address in self.addresses:
            ip(public, f"addr add {address}/32 dev lo")
        ip(chain[0], "route add 198.18.0.0/16 via 198.19.200.2")
        for number, (kind, at) in enumerate(zip(kinds, [chain[0], chain[-1]]), 1):
            self.site(number, kind, at)

    def ns(self, name):
        name = f"{self.name}-{name}"
        ip(None, f"netns add {name}")
        self.namespaces.append(name)
        ip(name, "link set lo up")
        return name

    def link(self, left, left_if, right, right_if, prefix):
        ip(None, f"link add {left_if} netns {left} type veth peer name {right_if} netns {right}")
        self.up(left, left_if, f"{prefix}.1")
        self.up(right, right_if, f"{prefix}.2")

    def up(self, ns, interface, address):
        ip(ns, f"addr add {address}/24 dev {interface}")
        ip(ns, f"link set {interface} up")

    def site(self, number, kind, at):
        router, host = self.ns(f"r{number}"), self.ns(f"h{number}")
        outside, wan = f"198.19.{number}", f"wan{number}"
        inside = f"198.19.1{number}" if kind == "public" else f"10.0.{number}"
        self.delayed(at, wan, router, "wan")
        self.up(at, wan, f"{outside}.1")
        self.up(router, "wan", f"{outside}.2")
        self.link(router, "lan", host, "eth0", inside)
        ip(host, f"route add default via {inside}.1")
        ip(router, f"route add default via {outside}.1")
        run("sysctl", "-qw", "net.ipv4.ip_forward=1", ns=router)
        if kind == "public":
            ip(at, f"route add {inside}.0/24 via {outside}.2")
            return
        random = "fully-random" if kind == "random" else ""
        drop = "" if kind == "open" else "iifname wan drop"
        rules = f"""
            table ip lab {{
                chain source {{
                    type nat hook postrouting priority srcnat; policy accept
                    oifname wan masquerade {random}
                }}
                chain input {{
                    type filter hook input priority filter; policy accept
                    {drop}
                }}
                chain forward {{
                    type filter hook forward priority filter; policy drop
                    ct state established,related accept
                    iifname != wan accept
                }}
            }}"""
        done = subprocess.run(
            ["ip", "netns", "exec", router, "nft", "-f", "-"], input=rules, text=True
        )
        if done.returncode:
            sys.exit("nft refused the rules of a router")

    def delayed(self, left, left_if, right, right_if):
        """Two TAP devices, between which a process carries frames after the delay."""
        words = [sys.executable, __file__, "--carry", left, left_if, right, right_if]
        relay = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert relay.stdout.readline() == b"ready\n", "the TAP devices can not be made"
        self.relays.append(relay)

    def close(self):
        for relay in self.relays:
            relay.kill()
            relay.wait()
        for name in self.namespaces:
            ip(None, f"netns del {name}")


def carry(left, left_if, right, right_if):
    """Carries frames between two TAP devices, each DELAY_MS after it came."""
    libc = ctypes.CDLL(None, use_errno=True)

    def tap(ns, name):
        with open(f"/run/netns/{ns}") as handle:
            if libc.setns(handle.fileno(), 0x40000000):  # CLONE_NEWNET
                raise OSError(ctypes.get_errno(), "setns")
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        # TUNSETIFF with IFF_TAP | IFF_NO_PI (linux/if_tun.h).
        fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1002))
        return device

    taps = [tap(left, left_if), tap(right, right_if)]
    print("ready", flush=True)
    due = collections.deque()
    while True:
        wait = max(0, due[0][0] - time.monotonic()) if due else None
        readable, _, _ = select.select(taps, [], [], wait)
        for device in readable:
            other = taps[1 - taps.index(device)]
            try:
                while True:
                    frame = os.read(device, 65536)
                    due.append((time.monotonic() + DELAY_MS / 1e3, other, frame))
            except BlockingIOError:
                pass
        while due and due[0][0] <= time.monotonic():
            _, device, frame = due.popleft()
            try:
                os.write(device, frame)
            except OSError:
                pass


class Nodenet:
    name = "nodenet"

    def __init__(self, lab, program, folder):
        self.lab, self.program, self.folder, self.number = lab, program, folder, 0
        self.nodes = []
        for n, address in enumerate(lab.addresses):
            own = f"{address}:4242"
            relay = ["--relay", "--advertise", own] if n < VOLUNTEERS else []
            self.nodes.append(self.node("public", ["--addr", own, *relay]))
        self.listener = self.node("h2", [], on_line=self.greet)

    def node(self, ns, args, on_line=None):
        self.number += 1
        seed = f"{self.folder}/{self.lab.name}-{self.number}.seed"
        known = [node.bootstrap for node in self.nodes[:8]]
        words = [self.program, "run", "--json", "--log-level", "error", "--seed", seed, *args]
        words += ["--bootstrap", ",".join(known)] if known else []
        node = Process(f"{self.lab.name}-{ns}", words, on_line)
        _, started = node.wait(lambda line: line.get("event") == "started", 20)
        node.id, node.bootstrap = started["id"], started["bootstrap"]
        return node

    def greet(self, listener, line):
        if line.get("event") == "edge_up" and line["peer"] == getattr(self, "expected", None):
            hello = {"id": 1, "request": "send_direct", "peer": line["peer"], "payload_hex": "01"}
            listener.say(hello)

    def prepare(self):
        """A new node that has joined and has no edge to the listener."""
        while True:
            dialer = self.node("h1", [])
            self.expected = dialer.id
            time.sleep(SETTLE_S)
            dialer.say({"id": 1, "request": "edges"})
            answer = dialer.wait(lambda line: line.get("event") == "answer", 5)
            edges = [edge["peer"] for edge in answer[1]["result"]]
            if edges and self.listener.id not in edges:
                return dialer
            dialer.stop()

    def measure(self, dialer):
        begun = time.monotonic()
        dialer.say({"id": 2, "request": "connect", "peer": self.listener.id})
        is_hello = lambda line: line.get("event") == "message" and line["path"] == "direct"
        heard = dialer.wait(is_hello, CONNECT_S)
        if heard is None:
            return {"error": "no first byte"}
        dialer.say({"id": 3, "request": "explain", "peer": self.listener.id})
        _, answer = dialer.wait(lambda line: line.get("id") == 3, 5)
        outcome = answer["result"]["outcome"] if answer.get("result") else None
        return {"ms": (heard[0] - begun) * 1e3, "error": None, "outcome": outcome}

    def stop(self):
        for process in [*self.nodes, self.listener]:
            process.stop()


class Hyperdht:
    name = "hyperdht"

    def __init__(self, lab, folder):
        self.lab, self.folder = lab, folder
        addresses = lab.addresses[:HYPERDHT_NODES]
        self.bootstrap = f"{addresses[0]}:49737"
        self.nodes, _ = self.process("public", "nodes", "49737", *addresses)
        self.listener, self.key = self.process("h2", "listen", self.bootstrap)

    def process(self, ns, *args):
        words = ["node", "hyperdht.mjs", *args]
        process = Process(f"{self.lab.name}-{ns}", words, cwd=self.folder)
        ready = process.wait(lambda line: "ready" in line, 30)
        if ready is None:
            sys.exit(f"hyperdht {args[0]} is not ready after 30 s")
        return process, ready[1]["ready"]

    def prepare(self):
        dialer, _ = self.process("h1", "dial", self.bootstrap, self.key)
        return dialer

    def measure(self, dialer):
        dialer.say(None)
        heard = dialer.wait(lambda line: "ms" in line, CONNECT_S)
        return heard[1] if heard else {"error": "no first byte"}

    def stop(self):
        for process in [self.nodes, self.listener]:
            process.stop()


SETTLE_S = 3


def measure_pair(number, kinds, routers, args, folder):
    lab = Lab(f"beside{os.getpid()}-{number}")
    results = []
    systems = []
    try:
        lab.build(kinds, routers)
        systems = [Nodenet(lab, args.nodenet, folder), Hyperdht(lab, folder)]
        time.sleep(10)  # the listeners announce themselves and learn their addresses
        for number in range(args.rounds):
            dialers = [system.prepare() for system in systems]
            order = [0, 1] if number % 2 else [1, 0]
            for index in order:
                measured = systems[index].measure(dialers[index])
                measured |= {"system": systems[index].name, "round": number}
                measured |= {"dialer": kinds[0], "listener": kinds[1], "hops": routers}
                results.append(measured)
            for dialer in dialers:
                dialer.stop()
    finally:
        for system in systems:
            system.stop()
        lab.close()
    return results


def summary(results):
    """One row: successes and medians of both, and the median of the ratios of the rounds."""
    of = {name: [r for r in results if r["system"] == name] for name in ("nodenet", "hyperdht")}
    ms = {name: [r["ms"] for r in rows if not r["error"]] for name, rows in of.items()}
    by_round = {
        name: {r["round"]: r["ms"] for r in rows if not r["error"]} for name, rows in of.items()
    }
    both = by_round["nodenet"].keys() & by_round["hyperdht"].keys()
    ratios = [by_round["nodenet"][n] / by_round["hyperdht"][n] for n in both]
    median = lambda values: f"{statistics.median(values):.0f}" if values else "–"
    relayed = sum(r.get("outcome") == "relayed" for r in of["nodenet"])
    first = results[0]
    cells = [first["dialer"], first["listener"], first["hops"]]
    for name in ("nodenet", "hyperdht"):
        cells += [f"{len(ms[name])} of {len(of[name])}", median(ms[name])]
    cells += [f"{statistics.median(ratios):.2f}" if ratios else "–", relayed]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


HEAD = """| dialer | listener | routers | nodenet | ms | hyperdht | ms | ratio | relayed |
|---|---|---|---|---|---|---|---|---|"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--nodenet", required=True, help="the program, built for release")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pairs", help="such as easy-easy,open-random; all but random-random")
    parser.add_argument("--routers", default="3,20", help="routers between the hosts")
    parser.add_argument("--json", help="file for every measurement")
    args = parser.parse_args()
    args.nodenet = os.path.abspath(args.nodenet)
    pairs = [p.split("-") for p in args.pairs.split(",")] if args.pairs else []
    pairs = pairs or [(a, b) for a in KINDS for b in KINDS if (a, b) != ("random", "random")]
    if os.geteuid() != 0:
        sys.exit("TAP devices need root: run this with sudo")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        here = os.path.dirname(os.path.abspath(__file__))
        run("cp", f"{here}/hyperdht.mjs", folder)
        run("npm", "install", "--silent", "--prefix", folder, f"hyperdht@{HYPERDHT}")
        version = subprocess.run([args.nodenet, "--version"], capture_output=True, text=True)
        node = subprocess.run(["node", "--version"], capture_output=True, text=True)
        print(f"{version.stdout.strip()}, hyperdht {HYPERDHT}, node {node.stdout.strip()}", HEAD, sep="\n")
        number = 0
        for routers in map(int, args.routers.split(",")):
            for kinds in pairs:
                number += 1
                measured = measure_pair(number, kinds, routers, args, folder)
                results += measured
                print(summary(measured), flush=True)
                if args.json:
                    with open(args.json, "w") as file:
                        json.dump(results, file)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--carry"]:
        carry(*sys.argv[2:])
    else:
        main()
