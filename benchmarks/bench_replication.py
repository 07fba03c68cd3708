"""What does a tick cost to tell to the other replicas? 200 services × 10 containers on 50 nodes.

Prints the CPU of encoding and of decoding plan, picture and memory, as ratios to the tick that made them and to pickle
on the same values (the limit: it checks nothing and may run anything), and the bytes on the wire.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable

from bench_snapshots import mesh_text

from askew.control_loop import Memory, tick
from askew.replication.value_codec import decode, encode
from mesh.mesh_file import parse_mesh_file
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import Telemetry

ROUNDS = 5


def cpu_s(work: Callable[[], object]) -> float:
    """Return the least CPU time of a few rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began_s = time.process_time()
        work()
        best = min(best, time.process_time() - began_s)
    return best


def main() -> None:
    """Measure and print."""
    topology = parse_mesh_file(mesh_text())
    memory, picture, plan = tick(Memory(), topology, Telemetry(time_s=1.0))
    again_s = cpu_s(lambda: tick(memory, topology, Telemetry(time_s=6.0)))
    values: list[tuple[object, type]] = [(plan, Plan), (picture, Picture), (memory, Memory)]
    sent = [encode(value, kind) for value, kind in values]
    encode_s = cpu_s(lambda: [encode(value, kind) for value, kind in values])
    decode_s = cpu_s(lambda: [decode(data, kind) for data, (_, kind) in zip(sent, values, strict=True)])
    pickled = [pickle.dumps(value) for value, _ in values]
    dump_s = cpu_s(lambda: [pickle.dumps(value) for value, _ in values])
    load_s = cpu_s(lambda: [pickle.loads(data) for data in pickled])
    megabytes, limit = sum(map(len, sent)) / 1e6, sum(map(len, pickled)) / 1e6
    print(f"a tick that changes nothing: {again_s * 1e3:.0f} ms of CPU")
    print(f"tell it:  {encode_s * 1e3:.0f} ms = {encode_s / again_s:.2f} ticks = {encode_s / dump_s:.1f} x pickle")
    print(f"hear it:  {decode_s * 1e3:.0f} ms = {decode_s / again_s:.2f} ticks = {decode_s / load_s:.1f} x pickle")
    print(f"size:     {megabytes:.2f} MB = {megabytes / limit:.2f} x pickle")


if __name__ == "__main__":
    main()
