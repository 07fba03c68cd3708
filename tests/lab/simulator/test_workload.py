"""Common random numbers, and distributions with the mean they claim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lab.simulator.call_graph import Call, Operation, flatten
from lab.simulator.scenario import Surge, Work, WorkShape
from lab.simulator.scenarios import neighbours, s2
from lab.simulator.workload import draw, sized


def test_a_seed_draws_the_same_workload_again() -> None:
    """Time, client, work and antagonists depend on the scenario and the seed alone."""
    scenario = neighbours().shortened(duration_s=3.0, warmup_s=1.0)
    trees, _ = flatten(scenario.operations)

    one, two, other = draw(scenario, trees, seed=1), draw(scenario, trees, seed=1), draw(scenario, trees, seed=2)

    assert all(np.array_equal(a, b) for a, b in zip(one.requests, two.requests, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(one.speeds, two.speeds, strict=True))
    assert not np.array_equal(one.requests.at_s[:100], other.requests.at_s[:100])


@pytest.mark.parametrize("shape", ["exponential", "lognormal", "bimodal", "constant"])
def test_work_has_its_mean(shape: WorkShape) -> None:
    """All shapes have the mean that the scenario says."""
    rng = np.random.default_rng(3)

    work_s = sized(Work(0.01, shape), normal=rng.standard_normal(200_000), uniform=rng.random(200_000))

    assert work_s.mean() == pytest.approx(0.01, rel=0.02)
    assert work_s.min() > 0


def test_a_surge_multiplies_the_rate_of_one_node() -> None:
    """Between its start and its end the node's clients send ``factor`` times as much, the others as before."""
    scenario = replace(s2(), surges=(Surge(3, 5.0, 10.0, 3.0),), duration_s=15.0, warmup_s=1.0)
    requests = draw(scenario, flatten(scenario.operations)[0], seed=1).requests
    there = np.array([client.node for client in scenario.clients])[requests.client] == 3
    during = (requests.at_s >= 5.0) & (requests.at_s < 10.0)

    assert (there & during).sum() / ((there & ~during).sum() / 2) == pytest.approx(3.0, rel=0.1)
    assert (~there & during).sum() / ((~there & ~during).sum() / 2) == pytest.approx(1.0, rel=0.05)


def test_calls_with_a_probability_are_made_that_often() -> None:
    """A child call that is made half of the time has work in half of the requests."""
    operation = Operation(Call(0, ((Call(0, probability=0.5),),)))
    scenario = replace(s2(0.5), operations=(operation,), duration_s=5.0, warmup_s=1.0)

    requests = draw(scenario, flatten(scenario.operations)[0], seed=1).requests

    assert (requests.work_s[1::2] < 0).mean() == pytest.approx(0.5, abs=0.02)
    assert (requests.work_s[::2] > 0).all()
