"""No policy sees what it could not know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lab.simulator.build import build
from lab.simulator.compiled import compiled_pick
from lab.simulator.pair import Pair
from lab.simulator.policies import POLICIES
from lab.simulator.policy import Policy
from lab.simulator.run import simulate
from lab.simulator.scenarios import SCENARIOS
from lab.simulator.sight import Sight


@compiled_pick
def pick_and_peek(now_s: float, rng: Any, links: Any, active: Any, weights: Any, memory: Any, board: Any) -> int:
    """Write what the board shows into the client's memory."""
    for column in range(board.shape[1]):
        memory[1] += 0.0 if np.isnan(board[links[0], column]) else 1.0
    memory[2] += 1.0
    return int(links[0])


class Peeker(Policy):
    """A policy that tries to look at servers' insides."""

    pick = staticmethod(pick_and_peek)
    seen: Pair | None = None

    def memory_size(self, pair: Pair) -> int:
        """Two counters."""
        Peeker.seen = pair
        return 3


def test_a_sidecar_sees_no_servers_inside() -> None:
    """The board of a policy without the sight for it holds nothing but NaN, at every pick."""
    built = build(SCENARIOS["smoke"](), Peeker, seed=1)
    assert built.pairs[0].truth is None

    scenario = SCENARIOS["smoke"]()
    kept: list[Pair] = []

    class Kept(Peeker):
        def start(self, pair: Pair) -> None:
            super().start(pair)
            kept.append(pair)

    simulate(scenario, Kept, seed=1)
    assert kept[0].memory[:, 2].sum() > 1000
    assert kept[0].memory[:, 1].sum() == 0


def test_only_those_named_oracle_know_the_truth() -> None:
    """The names on the command line say who cheats, and Prequal alone may probe."""
    sights = {name: make().sight for name, make in POLICIES.items()}

    assert {name for name, sight in sights.items() if sight is Sight.ORACLE} == {
        n for n in POLICIES if n.startswith("oracle-")
    }
    assert {name for name, sight in sights.items() if sight is Sight.PROBE} == {"prequal", "random-subset-prequal"}


@pytest.mark.parametrize("name", [name for name, make in POLICIES.items() if make().sight is not Sight.ORACLE])
def test_a_pair_holds_no_truth_for_others(name: str) -> None:
    """True speeds and rates are not even in the hands of a policy that is no oracle."""
    built = build(SCENARIOS["smoke"](), POLICIES[name], seed=1)

    assert [pair.truth for pair in built.pairs] == [None]
