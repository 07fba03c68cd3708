"""How close to what grpc.aio can do at all is a push? Against the raw fan-out of the same bytes, in the same run.

1,000 delta streams, each with its own endpoints for 10 services of 20; one service's weights change; every stream gets
one response and ACKs it. Server and clients are processes of their own on a core each where there are two. The two
servers take turns, push by push, so that a slow minute of the machine hits both.

    python benchmarks/bench_xds_push.py [--streams 1000] [--rounds 15] [--connect 5000]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PEERS = str(Path(__file__).with_name("xds_peers.py"))


class Peer:
    """A process of ``xds_peers.py``, on one core."""

    def __init__(self, *arguments: object, core: int) -> None:
        cores = sorted(os.sched_getaffinity(0))
        pinned = {cores[core % len(cores)]}
        self._process = subprocess.Popen(
            [sys.executable, PEERS, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            preexec_fn=lambda: os.sched_setaffinity(0, pinned),
        )

    def send(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended")
        return json.loads(line)

    def ask(self, *words: object) -> Any:
        self.send(*words)
        return self.receive()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Pair:
    """A server and its clients."""

    def __init__(self, kind: str, streams: int, *, refusing: int = 0, stalled: int = 0) -> None:
        self.kind, self.streams = kind, streams
        self.server = Peer(kind, streams, core=0)
        port = self.server.ask("port")
        before = self.server.ask("memory")
        self.clients = Peer("clients", port, streams, refusing, stalled, core=1)
        self.connected_s = self.clients.ask("connect")
        self.memory_per_stream = (self.server.ask("memory") - before) / streams
        self.cpu_us: list[float] = []
        self.p99_ms: list[float] = []

    def round(self, seed: int, *, idle_s: float = 0.3) -> None:
        """Push once; note CPU time of the server for each stream, and the 99th percentile of push to arrival."""
        self.server.ask("prepare", seed)
        time.sleep(idle_s)
        before = self.server.ask("cpu")
        self.clients.send("round")
        pushed_s = self.server.ask("push")
        arrived = sorted(one - pushed_s for one in self.clients.receive())
        self.cpu_us.append((self.server.ask("cpu") - before) / self.streams * 1e6)
        self.p99_ms.append(arrived[int(len(arrived) * 0.99)] * 1e3)

    def stop(self) -> None:
        self.clients.stop()
        self.server.stop()


def compare(streams: int, rounds: int) -> None:
    """Print the figures of Askew and of the raw fan-out, and their ratios."""
    askew, raw = Pair("askew", streams), Pair("raw", streams)
    try:
        for pair in (askew, raw):
            pair.round(10_000)  # a warm-up
            pair.cpu_us.clear()
            pair.p99_ms.clear()
        for seed in range(1, rounds + 1):
            for pair in (askew, raw) if seed % 2 else (raw, askew):
                pair.round(seed)
    finally:
        askew.stop()
        raw.stop()
    print(f"{streams} delta streams, {rounds} pushes in turn, medians [min, max]")
    for pair in (askew, raw):
        print(
            f"  {pair.kind:6} CPU per stream-push {spread(pair.cpu_us)} us   p99 to arrival {spread(pair.p99_ms)} ms"
            f"   memory per stream {pair.memory_per_stream / 1e3:.0f} kB   connected in {pair.connected_s:.1f} s"
        )
    print(
        f"  ratio  CPU {ratio(askew.cpu_us, raw.cpu_us)} (limit 2)   p99 {ratio(askew.p99_ms, raw.p99_ms)} (limit 2.5)"
    )


def stalled_and_refusing(streams: int, rounds: int) -> None:
    """Print what one client that stops reading, and one that refuses everything, do to the others."""
    calm, stalled = Pair("askew", streams), Pair("askew", streams, stalled=1)
    refusing = Pair("askew", streams, refusing=1)
    pairs = (calm, stalled, refusing)
    try:
        for seed in range(1, rounds + 1):
            for pair in pairs[seed % 3 :] + pairs[: seed % 3]:
                pair.round(seed)
        before = refusing.server.ask("cpu")
        time.sleep(5.0)
        idle = (refusing.server.ask("cpu") - before) / 5.0
    finally:
        for pair in pairs:
            pair.stop()
    print(f"{streams} streams, one of them odd, {rounds} pushes in turn")
    print(f"  one stalled   p99 of the others {ratio(stalled.p99_ms, calm.p99_ms)} of all well (limit 1.1)")
    print(
        f"  one refusing  p99 of the others {ratio(refusing.p99_ms, calm.p99_ms)}; CPU in the silence after: {idle:.2%}"
    )


def connect(streams: int) -> None:
    """Print whether so many streams at once are all served."""
    pair = Pair("askew", streams)
    try:
        kilobytes = pair.memory_per_stream / 1e3
        print(f"{streams} streams at once: all served in {pair.connected_s:.1f} s, {kilobytes:.0f} kB each")
    finally:
        pair.stop()


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} [{min(values):.0f}, {max(values):.0f}]"


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Return the median of the ratios round by round, and their range."""
    each = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return f"{statistics.median(each):.2f} [{each[0]:.2f}, {each[-1]:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--connect", type=int, default=0, help="also connect this many streams at once")
    arguments = parser.parse_args()
    compare(arguments.streams, arguments.rounds)
    stalled_and_refusing(max(3, arguments.streams // 5), arguments.rounds)
    if arguments.connect:
        connect(arguments.connect)


if __name__ == "__main__":
    main()
