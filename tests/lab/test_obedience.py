"""When sidecars have obeyed: read from counters that move, and only believed when all is acknowledged."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from lab.errors import LabError
from lab.obedience import watch_change


class FakeSidecar:
    """Answers with scripted counters, the last one for ever; ``changed`` starts the script."""

    def __init__(self, *script: int) -> None:
        self._script, self.changed = [0, *script], False

    async def config_counters(self) -> Mapping[str, int]:
        if self.changed and len(self._script) > 1:
            self._script.pop(0)
        return {"cds.update_success": self._script[0]}


def change(sidecars: Mapping[str, FakeSidecar]) -> None:
    for sidecar in sidecars.values():
        sidecar.changed = True


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.obedience.QUIET_S", 0.05)
    monkeypatch.setattr("lab.obedience.DEADLINE_S", 0.5)
    monkeypatch.setattr("lab.obedience.POLL_S", 0.001)


async def test_the_last_move_of_each_counts() -> None:
    """A sidecar that moves three times has obeyed with the third; the first and the last of all are told."""
    sidecars = {"early": FakeSidecar(1), "late": FakeSidecar(0, 0, 0, 1, 2, 3), "idle": FakeSidecar()}
    obedience = await watch_change(sidecars, lambda: change(sidecars), all_acked=yes)  # type: ignore[arg-type]

    assert 0.0 < obedience.first_s < obedience.last_s < 0.5


async def test_silence_is_not_obedience() -> None:
    """If nothing moves anywhere, the change has reached nobody."""
    sidecars = {"deaf": FakeSidecar()}
    with pytest.raises(LabError, match="no sidecar has taken over the change"):
        await watch_change(sidecars, lambda: change(sidecars), all_acked=yes)  # type: ignore[arg-type]


async def test_without_acknowledgement_it_is_not_over() -> None:
    """As long as the control plane waits for an ACK, quiet counters prove nothing."""
    sidecars = {"quick": FakeSidecar(1), "stuck": FakeSidecar()}
    with pytest.raises(LabError, match="not every sidecar has acknowledged the change"):
        await watch_change(sidecars, lambda: change(sidecars), all_acked=no)  # type: ignore[arg-type]
