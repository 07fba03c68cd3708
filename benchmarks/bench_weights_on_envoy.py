"""How well does a real Envoy keep to weights, and what does its own sight of requests in flight add? Prints ratios.

One Envoy with our cluster as served (``xds_server/resources/clusters.py``), four apps whose work is slept in a queue of
two workers, an open-loop load. For ``LEAST_REQUEST`` with ``active_request_bias`` 0, 0.3 and 1, and round robin:

    weights     the largest distance in points from weights 10:20:30:40, at 10, 100 and 1,000 requests/s of short work
    push        the same in the first 100 requests after a push of other weights and nothing else
    p99         four clients, at 60 % load: equal servers and equal weights; one server at a third of its speed, with
                the weights that the plan would have, and with equal weights (the plan has not seen it yet). The ratio
                is to round robin in the same round; the median of the rounds counts
    slow start  what Envoy's slow start gives a warm endpoint that a push took away and brought back, of its share

Everything runs on one machine: ratios say something, milliseconds do not. 50 s; ``--rounds 7`` takes 12 minutes.

    python benchmarks/bench_weights_on_envoy.py [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf.json_format import MessageToDict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.application import ServiceTime
from lab.errors import WireError
from lab.http_wire import ClientPool, Request, Response, ServerConnection
from lab.service_queue import ServiceQueue
from lab.sidecars import envoy_binary
from xds_server.resources.clusters import outbound_cluster_bytes

POLICIES: Mapping[str, float | None] = {"round robin": None, "bias 0": 0.0, "bias 0.3": 0.3, "bias 1": 1.0}
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager"
WEIGHTS, TURNED = (10, 20, 30, 40), (40, 30, 20, 10)
WORK_MS, WORKERS, SERVERS = 20.0, 2, 4
LOAD = 0.6
CLIENTS = 4  # clusters of their own in the one Envoy, so that each sees only its own requests in flight
EQUAL, LEANING = (100, 100, 100, 100), (21, 100, 100, 100)  # at 60 % the optimum gives the slow one about a fifth


@dataclass
class Servers:
    """The apps: one queue each, on ports of 127.0.0.1."""

    ports: list[int]
    queues: list[ServiceQueue]
    answered: list[int] = field(default_factory=list)

    def handler(self, number: int) -> Any:
        async def answer(_: Request) -> Response:
            await self.queues[number].work()
            return Response(200, str(number).encode())

        return answer

    def set_work(self, mean_ms: float, *, slow: float = 1.0) -> None:
        """Let every queue start anew; the first runs at ``slow`` of the others' speed."""
        for number in range(SERVERS):
            rng = random.Random(f"work {number}")
            time_of = ServiceTime("exponential" if mean_ms > 2.0 else "fixed", mean_ms=mean_ms)
            speed = slow if number == 0 else 1.0
            self.queues[number] = ServiceQueue(time_of, workers=WORKERS, speed=speed, rng=rng)


class Sidecar:
    """An Envoy with one listener for each policy; endpoints come from files that are renamed over."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        self.folder, self.servers = folder, servers
        self.ports = {(policy, n): free_port() for policy in (*POLICIES, "slow start") for n in range(CLIENTS)}

    def push(self, policy: str, weights: Sequence[int]) -> None:
        """Put weights in force; 0 leaves an endpoint out."""
        endpoints = [
            {"endpoint": {"address": address(port)}, "load_balancing_weight": weight}
            for port, weight in zip(self.servers.ports, weights, strict=True)
            if weight
        ]
        assignment = {
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": policy,
            "endpoints": [{"lb_endpoints": endpoints}],
        }
        file = self.endpoints_file(policy)
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps({"resources": [assignment]}))
        draft.replace(file)

    def endpoints_file(self, policy: str) -> Path:
        return self.folder / f"{policy.replace(' ', '-')}.json"

    def config(self) -> dict[str, Any]:
        """Return the bootstrap."""
        return {
            "node": {"id": "bench", "cluster": "bench"},
            "admin": {"address": address(free_port())},
            "static_resources": {
                "listeners": [listener(f"{policy} {n}", port) for (policy, n), port in self.ports.items()],
                "clusters": [self._cluster(policy, n) for policy, n in self.ports],
            },
        }

    def _cluster(self, policy: str, n: int) -> dict[str, Any]:
        bias = POLICIES.get(policy, 0.3)
        how: dict[str, Any] = {} if bias is None else {"balancing": "least-request", "active_request_bias": bias}
        body = outbound_cluster_bytes(f"{policy} {n}", "http", managed=True, **how)
        cluster: dict[str, Any] = MessageToDict(cluster_pb2.Cluster.FromString(body), preserving_proto_field_name=True)
        source = {"path_config_source": {"path": str(self.endpoints_file(policy))}, "resource_api_version": "V3"}
        cluster["eds_cluster_config"] = {"eds_config": source, "service_name": policy}
        if policy == "slow start":
            cluster["least_request_lb_config"]["slow_start_config"] = {"slow_start_window": "30s"}
        return cluster


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def listener(policy: str, port: int) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": policy}}
    manager = {
        "@type": f"{MANAGER}.v3.HttpConnectionManager",
        "stat_prefix": policy.replace(" ", "_"),
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": policy, "address": address(port), "filter_chains": [chain]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running() -> AsyncIterator[Sidecar]:
    """Start apps and Envoy; end both."""
    folder = Path(tempfile.mkdtemp(prefix="askew-weights-"))
    servers = Servers([free_port() for _ in range(SERVERS)], [None] * SERVERS)  # type: ignore[list-item]
    servers.set_work(1.0)
    loop = asyncio.get_running_loop()
    listening = [
        await loop.create_server(lambda number=number: ServerConnection(servers.handler(number)), "127.0.0.1", port)
        for number, port in enumerate(servers.ports)
    ]
    sidecar = Sidecar(folder, servers)
    for policy in (*POLICIES, "slow start"):
        sidecar.push(policy, WEIGHTS)
    file = folder / "envoy.json"
    file.write_text(json.dumps(sidecar.config()))
    command = [envoy_binary(), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    envoy = await asyncio.create_subprocess_exec(*command)
    try:
        await until_ready(sidecar)
        yield sidecar
    finally:
        if envoy.returncode is None:
            envoy.terminate()
        await envoy.wait()
        for server in listening:
            server.close()
        shutil.rmtree(folder)


async def until_ready(sidecar: Sidecar) -> None:
    async with asyncio.timeout(20):
        for port in sidecar.ports.values():
            while True:
                try:
                    if (await once(ClientPool("127.0.0.1", port))).status == 200:
                        break
                except (OSError, WireError):
                    pass
                await asyncio.sleep(0.05)


async def once(pool: ClientPool) -> Response:
    return await pool.get("/", authority="app", headers={}, deadline_s=20.0)


@dataclass
class Seen:
    """Who answered, in order of sending, and how long it took."""

    order: list[tuple[float, int]] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)

    def parts(self, first: int = 0, last: int | None = None) -> list[float]:
        chosen = [number for _, number in sorted(self.order)][first:last]
        counts = Counter(chosen)
        return [counts[number] / max(1, len(chosen)) for number in range(SERVERS)]

    def p99_ms(self) -> float:
        return sorted(self.took_ms)[int(0.99 * len(self.took_ms))]


async def load(
    sidecar: Sidecar, policy: str, *, per_s: float, count: int, seed: str = "load", clients: int = 1
) -> Seen:
    """Send ``count`` requests, Poisson at ``per_s``, from each of so many clients in turn at random.

    Latency counts from when a request was due.
    """
    pools = [ClientPool("127.0.0.1", sidecar.ports[policy, n]) for n in range(clients)]
    rng, seen = random.Random(seed), Seen()

    async def send(pool: ClientPool, due_s: float) -> None:
        response = await once(pool)
        seen.order.append((due_s, int(response.body)))
        seen.took_ms.append(1000.0 * (time.monotonic() - due_s))

    due_s = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            due_s += rng.expovariate(per_s)
            await asyncio.sleep(due_s - time.monotonic())
            tasks.create_task(send(rng.choice(pools), due_s))
    for pool in pools:
        pool.close()
    return seen


def off(parts: Sequence[float], weights: Sequence[int]) -> float:
    """Return the largest distance in points between parts and weights."""
    return 100.0 * max(abs(part - weight / sum(weights)) for part, weight in zip(parts, weights, strict=True))


async def fidelity(sidecar: Sidecar, *, scale: float) -> dict[str, dict[str, float]]:
    """Return for each policy how far what was sent was from the weights."""
    found: dict[str, dict[str, float]] = {policy: {} for policy in POLICIES}
    for per_s, seconds, work_ms in ((10.0, 30.0, WORK_MS), (100.0, 15.0, WORK_MS), (1000.0, 5.0, 1.0)):
        sidecar.servers.set_work(work_ms)
        count = int(per_s * seconds * scale)
        together = per_s <= 10.0
        if together:
            seens = await asyncio.gather(*(load(sidecar, p, per_s=per_s, count=count) for p in POLICIES))
        else:
            seens = [await load(sidecar, p, per_s=per_s, count=count) for p in POLICIES]
        for policy, seen in zip(POLICIES, seens, strict=True):
            found[policy][f"{per_s:.0f}/s"] = off(seen.parts(), WEIGHTS)
    return found


async def after_push(sidecar: Sidecar, *, count: int = 300) -> dict[str, float]:
    """Return for each policy how far the 100 requests after a push of other weights are from these."""
    found = {}
    sidecar.servers.set_work(WORK_MS)
    for policy in POLICIES:
        loading = asyncio.create_task(load(sidecar, policy, per_s=100.0, count=count))
        await asyncio.sleep(1.0)
        pushed_s = time.monotonic()
        sidecar.push(policy, TURNED)
        seen = await loading
        ordered = sorted(seen.order)
        first = next(i for i, (due_s, _) in enumerate(ordered) if due_s > pushed_s + 0.02)
        found[policy] = off(seen.parts(first, first + 100), TURNED)
        sidecar.push(policy, WEIGHTS)
    return found


CASES = {
    "equal servers, equal weights": (1.0, EQUAL),
    "one slow, weights lean": (1.0 / 3.0, LEANING),
    "one slow, equal weights": (1.0 / 3.0, EQUAL),
}


async def tails(sidecar: Sidecar, *, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return p99 in ms by case, policy and round; policies are interleaved, each with the same requests and work."""
    found: dict[str, dict[str, list[float]]] = {case: {policy: [] for policy in POLICIES} for case in CASES}
    capacity = SERVERS * WORKERS * 1000.0 / WORK_MS
    for turn in range(rounds):
        for case, (slow, weights) in CASES.items():
            per_s = LOAD * capacity * (SERVERS - 1 + slow) / SERVERS
            if weights == EQUAL and slow < 1.0:
                per_s = 0.9 * capacity * slow  # more would drown round robin: a quarter goes to the slow one
            for policy in POLICIES:
                sidecar.servers.set_work(WORK_MS, slow=slow)
                sidecar.push(policy, weights)
                await asyncio.sleep(0.2)
                count = int(per_s * (6.0 if rounds > 1 else 2.0))
                seen = await load(sidecar, policy, per_s=per_s, count=count, seed=f"{case} {turn}", clients=CLIENTS)
                found[case][policy].append(seen.p99_ms())
    return found


def ratio(by_policy: Mapping[str, Sequence[float]], policy: str) -> float:
    """Return the median over the rounds of a policy's p99 over round robin's."""
    pairs = zip(by_policy[policy], by_policy["round robin"], strict=True)
    return statistics.median(one / other for one, other in pairs)


async def slow_start(sidecar: Sidecar) -> float:
    """Return what part of its share a warm endpoint gets in the 5 s after it came back, under Envoy's slow start."""
    sidecar.servers.set_work(1.0)
    sidecar.push("slow start", (100, 100, 100, 0))
    await asyncio.sleep(31.0)
    sidecar.push("slow start", (101, 100, 100, 100))
    seen = await load(sidecar, "slow start", per_s=100.0, count=500)
    return 4.0 * seen.parts()[3]


async def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    whole = options.rounds > 1
    async with running() as sidecar:
        kept = await fidelity(sidecar, scale=1.0 if whole else 0.25)
        pushed = await after_push(sidecar)
        p99s = await tails(sidecar, rounds=options.rounds)
        part = await slow_start(sidecar) if whole else None
    rates = list(next(iter(kept.values())))
    print(f"{'points off the weights':24}" + "".join(f"{rate:>10}" for rate in rates) + f"{'push':>10}")
    for policy in POLICIES:
        print(f"{policy:24}" + "".join(f"{kept[policy][rate]:10.1f}" for rate in rates) + f"{pushed[policy]:10.1f}")
    print(f"\n{'p99, times round robin':32}" + "".join(f"{policy:>14}" for policy in POLICIES))
    for case, by_policy in p99s.items():
        print(f"{case:32}" + "".join(f"{ratio(by_policy, policy):14.2f}" for policy in POLICIES))
    if part is not None:
        print(f"\nEnvoy's slow start gives a warm endpoint that came back {part:.2f} of its share in the first 5 s")
    if options.json:
        document = {"points_off": kept, "after_push": pushed, "p99_ms": p99s, "slow_start_part": part}
        options.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asyncio.run(main(parser.parse_args()))
