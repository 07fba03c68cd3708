"""What a load-balancing policy is to the simulator: a data plane (compiled) and, where it has one, a control plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.simulator.compiled import nothing_learnt
from lab.simulator.pair import Pair
from lab.simulator.sight import Sight
from lab.simulator.telemetry import Window
from lab.simulator.world import Integers

Pick = Callable[[float, Any, Any, Any, Any, Any, Any], int]
Done = Callable[[float, int, float, int, float, float, Any, Any], None]


@dataclass(frozen=True, slots=True)
class Clocks:
    """When a policy acts besides on requests.

    ``client_s``: each client for itself, every so many seconds, at its own phase. ``control_s``: a control plane,
    every so many seconds, ``Observation.delay_s`` after the window that it is shown has closed. None is never.
    """

    client_s: float | None = None
    control_s: float | None = None


class Policy:
    """One policy; a new object for every run. Subclasses override what they need.

    Attributes
    ----------
    pick, done:
        Made by ``compiled_pick`` and ``compiled_done``; they see one client's own arrays.
    sight, clocks:
        What it may see; when it acts.
    """

    pick: Pick
    done: Done = staticmethod(nothing_learnt)
    sight: Sight = Sight.SIDECAR
    clocks: Clocks = Clocks()

    def memory_size(self, pair: Pair) -> int:
        """Return how many numbers a client keeps; ``memory[0]`` is set to 1 by a push."""
        return 1

    def start(self, pair: Pair) -> None:
        """Set the first weights (all servers, equally, unless overridden) and the clients' memory."""
        pair.push(np.ones((pair.clients, pair.servers)))

    def client_tick(self, pair: Pair, now_s: float, clients: Integers) -> None:
        """Let ``clients`` (their turn has come) renew what they decided from their own memory."""

    def control_tick(self, pair: Pair, window: Window) -> None:
        """Let the control plane push new weights from the telemetry of one closed window."""

    def membership(self, pair: Pair) -> None:
        """React to ``pair.alive`` having changed. As it stands: keep the weights, without the dead."""
        pair.push(pair.weights.copy())
