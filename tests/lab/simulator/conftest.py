"""Small scenarios that the simulator's tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.simulator.call_graph import Call, Operation
from lab.simulator.scenario import Client, Container, Discipline, Network, Scenario, Service, Work

MakeQueue = Callable[..., Scenario]
EXPONENTIAL, NO_NETWORK = Work(0.010, "exponential"), Network(0.0, 0.0)


@pytest.fixture
def queue() -> MakeQueue:
    """Return a maker of one tier without network: ``clients`` on node 0, one server a speed, all on node 0."""

    def make(
        *,
        rate: float = 100.0,
        speeds: tuple[float, ...] = (1.0,),
        workers: int = 2,
        work: Work = EXPONENTIAL,
        clients: int = 1,
        duration_s: float = 10.0,
        discipline: Discipline = "fifo",
        network: Network = NO_NETWORK,
    ) -> Scenario:
        return Scenario(
            name="queue",
            zones=(0,),
            clients=tuple(Client(0, rate / clients) for _ in range(clients)),
            services=(Service("server", tuple(Container(0, speed, workers) for speed in speeds), work),),
            operations=(Operation(Call(0)),),
            duration_s=duration_s,
            warmup_s=duration_s / 10,
            discipline=discipline,
            network=network,
        )

    return make
