"""What is drawn from the seed before any policy acts: who asks when, how much work it is, when neighbours disturb.

Common random numbers: the same seed gives every policy the same requests, the same work and the same antagonists.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.simulator.call_graph import Trees
from lab.simulator.scenario import Antagonist, Scenario, Slowdown, Work
from lab.simulator.speed_path import SpeedPaths, speed_paths

_ARRIVALS, _WORK, _ANTAGONISTS = 1, 2, 3


class Requests(NamedTuple):
    """All requests of a run, in order of time.

    ``at_s``, ``client`` and ``root`` (the first node of its tree) have one entry a request; the work of its calls, in
    seconds of an undisturbed worker, is ``work_s[work_first[r] : work_first[r] + tree size]``; negative: that call is
    not made this time.
    """

    at_s: NDArray[np.float64]
    client: NDArray[np.int64]
    root: NDArray[np.int64]
    work_first: NDArray[np.int64]
    work_s: NDArray[np.float64]


class Workload(NamedTuple):
    """One seed's draw: the requests, and the speed of every container over time."""

    requests: Requests
    speeds: SpeedPaths


def draw(scenario: Scenario, trees: Trees, *, seed: int) -> Workload:
    """Draw the workload of ``scenario`` for ``seed``. O(requests · calls)."""
    arrivals = np.random.default_rng([seed, _ARRIVALS])
    at_s, client = _arrivals(scenario, arrivals)
    shares = np.array([operation.share for operation in scenario.operations])
    operation = arrivals.choice(len(shares), size=at_s.size, p=shares / shares.sum())
    sizes = trees.sizes[operation]
    work_first = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.int64)
    root = trees.roots[operation]
    nodes = np.repeat(root - work_first, sizes) + np.arange(int(sizes.sum()))
    work_s = _work(scenario, trees, nodes, np.random.default_rng([seed, _WORK]))
    requests = Requests(at_s, client, root, work_first, work_s)
    return Workload(requests, _speeds(scenario, np.random.default_rng([seed, _ANTAGONISTS])))


def _arrivals(scenario: Scenario, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    cuts = {0.0, scenario.duration_s}
    cuts.update(edge for surge in scenario.surges for edge in (surge.start_s, surge.end_s))
    edges = sorted(cut for cut in cuts if 0.0 <= cut <= scenario.duration_s)
    times, clients = [], []
    for start, end in pairwise(edges):
        rates = _rates_at(scenario, (start + end) / 2)
        count = rng.poisson(rates.sum() * (end - start))
        times.append(np.sort(rng.uniform(start, end, count)))
        clients.append(rng.choice(rates.size, size=count, p=rates / rates.sum()))
    return np.concatenate(times), np.concatenate(clients).astype(np.int64)


def _rates_at(scenario: Scenario, at_s: float) -> NDArray[np.float64]:
    rates = np.array([client.rate for client in scenario.clients])
    nodes = np.array([client.node for client in scenario.clients])
    for surge in scenario.surges:
        if surge.start_s <= at_s < surge.end_s:
            rates = np.where(nodes == surge.node, rates * surge.factor, rates)
    return rates


def _work(scenario: Scenario, trees: Trees, nodes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    # One standard normal and one uniform a call, whatever the service's shape: the others' draws do not depend on it.
    normal, uniform = rng.standard_normal(nodes.size), rng.random(nodes.size)
    work_s = np.empty(nodes.size)
    service_of = trees.service[nodes]
    for index, service in enumerate(scenario.services):
        chosen = service_of == index
        work_s[chosen] = sized(service.work, normal=normal[chosen], uniform=uniform[chosen])
    made = rng.random(nodes.size) < trees.probability[nodes]
    return np.where(made, work_s * trees.work_factor[nodes], -1.0)


def sized(work: Work, *, normal: NDArray[np.float64], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn standard draws into work in seconds.

    >>> sized(Work(0.01, "constant"), normal=np.zeros(2), uniform=np.zeros(2)).tolist()
    [0.01, 0.01]
    """
    if work.shape == "constant":
        return np.full(normal.size, work.mean_s)
    if work.shape == "exponential":
        return np.asarray(-work.mean_s * np.log1p(-uniform))
    if work.shape == "bimodal":
        small = work.mean_s / 2.9  # 0.9 * small + 0.1 * 20 * small = mean
        return np.where(uniform < 0.9, small, 20.0 * small)
    sigma_squared = np.log1p(work.variation**2)
    return np.asarray(work.mean_s * np.exp(np.sqrt(sigma_squared) * normal - sigma_squared / 2))


def _speeds(scenario: Scenario, rng: np.random.Generator) -> SpeedPaths:
    slowdowns = list(scenario.slowdowns)
    for antagonist in scenario.antagonists:
        slowdowns.extend(_visits(antagonist, rng, scenario.duration_s))
    return speed_paths(scenario.services, slowdowns)


def _visits(antagonist: Antagonist, rng: np.random.Generator, duration_s: float) -> list[Slowdown]:
    mean_on_s, mean_off_s = antagonist.mean_on_s, antagonist.mean_off_s
    on = rng.random() < mean_on_s / (mean_on_s + mean_off_s)
    now_s, visits = 0.0, []
    while now_s < duration_s:
        length_s = rng.exponential(mean_on_s if on else mean_off_s)
        if on:
            visits.append(
                Slowdown(antagonist.service, antagonist.container, now_s, now_s + length_s, antagonist.factor)
            )
        now_s, on = now_s + length_s, not on
    return visits
