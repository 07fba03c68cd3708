"""How many containers a policy needs to keep an objective: the measure of Imbres' evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lab.simulator.errors import SimulatorError
from lab.simulator.policy import Policy
from lab.simulator.run import simulate
from lab.simulator.scenario import Scenario


def containers_needed(
    make_scenario: Callable[[int], Scenario],
    make_policy: Callable[[], Policy],
    *,
    limit_s: float,
    percent: float = 95.0,
    seeds: Sequence[int] = (1,),
    low: int,
    high: int,
) -> int:
    """Return the least number of containers in low..high whose median percentile (over seeds) is within ``limit_s``.

    ``make_scenario(n)`` is the same demand on n containers. Bisection: takes for granted that more containers are no
    worse, which holds up to noise. O(log(high − low)) runs a seed.

    Raises
    ------
    SimulatorError
        if ``high`` containers are not enough.
    """

    def enough(count: int) -> bool:
        scenario = make_scenario(count)
        values = []
        for seed in seeds:
            outcome = simulate(scenario, make_policy, seed=seed)
            values.append(np.percentile(outcome.latency_s[outcome.measured], percent, method="higher"))
        return bool(np.median(values) <= limit_s)

    if not enough(high):
        raise SimulatorError(f"containers: found {high} not enough for {limit_s} s, allowed: a larger bound or limit")
    below, above = low - 1, high
    while above - below > 1:
        middle = (below + above) // 2
        if enough(middle):
            above = middle
        else:
            below = middle
    return above
