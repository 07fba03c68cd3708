"""One policy a file; ``POLICIES`` names them for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lab.simulator.policies.least_request import LeastRequest
from lab.simulator.policies.random_choice import RandomChoice
from lab.simulator.policies.round_robin import RoundRobin
from lab.simulator.policy import Policy

POLICIES: Mapping[str, Callable[[], Policy]] = {
    "least-request": LeastRequest,
    "random": RandomChoice,
    "round-robin": RoundRobin,
}
