"""One policy a file; ``POLICIES`` names them for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lab.simulator.policies.join_shortest import JoinShortestQueue, SharedTwoChoices
from lab.simulator.policies.least_request import LeastRequest
from lab.simulator.policies.prequal import Prequal
from lab.simulator.policies.random_choice import RandomChoice
from lab.simulator.policies.round_robin import RoundRobin
from lab.simulator.policies.static_optimum import StaticOptimum
from lab.simulator.policy import Policy

POLICIES: Mapping[str, Callable[[], Policy]] = {
    "join-shortest-queue": JoinShortestQueue,
    "least-request": LeastRequest,
    "prequal": Prequal,
    "random": RandomChoice,
    "round-robin": RoundRobin,
    "shared-two-choices": SharedTwoChoices,
    "static-optimum": StaticOptimum,
}
