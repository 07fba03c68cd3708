"""What does a tick cost to tell to the other replicas? 200 services × 10 containers on 50 nodes.

Prints the CPU of telling and of hearing plan, picture and memory, whole and as changes to the tick before, as ratios to
the tick that made them and to pickle on the same values (the limit: it checks nothing and may run anything), and the
bytes on the wire. Both sides do it in a thread, so that sidecars are served meanwhile.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable

from bench_snapshots import mesh_text

from askew.control_loop import Memory, tick
from askew.replication import replicas_pb2 as pb
from askew.replication.wire import Decided, Reign, StateDecoder, StateEncoder
from mesh.mesh_file import parse_mesh_file
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import Telemetry
from mesh.topology import Topology

ROUNDS = 5


def cpu_s(work: Callable[[], object]) -> float:
    """Return the least CPU time of a few rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        began_s = time.process_time()
        work()
        best = min(best, time.process_time() - began_s)
    return best


def tellings(topology: Topology, memory: Memory, picture: Picture, plan: Plan) -> tuple[pb.State, float, float]:
    """Return a whole state, and the CPU time to tell and to hear the ticks after it, which change nothing."""
    encoder, decoder = StateEncoder(), StateDecoder()
    whole = encoder.changes(Decided("a", Reign(1, 1), plan, picture, memory))
    decoder.decided(whole)
    tell_s, hear_s = [], []
    for number in range(2, ROUNDS + 2):
        memory, picture, plan = tick(memory, topology, Telemetry(time_s=5.0 * number))
        decided = Decided("a", Reign(1, number), plan, picture, memory)
        began_s = time.process_time()
        state = encoder.changes(decided)
        told_s = time.process_time()
        decoder.decided(state)
        tell_s.append(told_s - began_s)
        hear_s.append(time.process_time() - told_s)
    return whole, min(tell_s), min(hear_s)


def main() -> None:
    """Measure and print."""
    topology = parse_mesh_file(mesh_text())
    memory, picture, plan = tick(Memory(), topology, Telemetry(time_s=1.0))
    again_s = cpu_s(lambda: tick(memory, topology, Telemetry(time_s=6.0)))
    values = [plan, picture, memory]
    whole, changes, heard = tellings(topology, memory, picture, plan)
    encode_s = cpu_s(lambda: StateEncoder().changes(Decided("a", Reign(1, 1), plan, picture, memory)))
    decode_s = cpu_s(lambda: StateDecoder().decided(whole))
    pickled = [pickle.dumps(value) for value in values]
    dump_s = cpu_s(lambda: [pickle.dumps(value) for value in values])
    load_s = cpu_s(lambda: [pickle.loads(data) for data in pickled])
    megabytes, limit = whole.ByteSize() / 1e6, sum(map(len, pickled)) / 1e6
    print(f"a tick that changes nothing: {again_s * 1e3:.0f} ms of CPU")
    print(f"tell it:  {encode_s * 1e3:.0f} ms = {encode_s / again_s:.2f} ticks = {encode_s / dump_s:.1f} x pickle")
    print(f"hear it:  {decode_s * 1e3:.0f} ms = {decode_s / again_s:.2f} ticks = {decode_s / load_s:.1f} x pickle")
    print(f"size:     {megabytes:.2f} MB = {megabytes / limit:.2f} x pickle")
    print(f"tell what changed when nothing did: {changes * 1e3:.1f} ms = {changes / encode_s:.3f} of the whole")
    print(f"hear it:                            {heard * 1e3:.1f} ms = {heard / decode_s:.3f} of the whole")


if __name__ == "__main__":
    main()
