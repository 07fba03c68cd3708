"""The named scenarios."""
from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lab.simulator.call_graph import Call, Operation
from lab.simulator.scenario import Client, Container, Scenario, Service

def s2(load: float = 0.7) -> Scenario:
    rng = np.random.default_rng(2)
    nodes = 10
    cn = rng.integers(0, nodes, 40); sn = rng.integers(0, nodes, 40)
    raw = np.exp(0.472 * rng.standard_normal(40))
    slow = rng.permutation(40) < 8
    speeds = np.where(slow, .5, 1.)
    rate = load * 2 * speeds.sum() / .01
    return Scenario("s2", tuple(range(nodes)), tuple(Client(int(n), float(r)) for n, r in zip(cn, raw / raw.sum() * rate)),
        (Service("server", tuple(Container(int(n), float(s), 2) for n, s in zip(sn, speeds))),), (Operation(Call(0)),))

def smoke() -> Scenario:
    return s2(.5).shortened(duration_s=2., warmup_s=.5)

SCENARIOS: Mapping[str, Callable[[], Scenario]] = {"s2": s2, "smoke": smoke}
