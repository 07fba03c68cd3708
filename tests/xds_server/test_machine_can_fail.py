"""A state machine that never fails proves nothing: servers broken on purpose are found out by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.xds_server.test_subscription_machine import AnyClient
from xds_server.resources.names import CDS, EDS
from xds_server.subscription import Changes, Subscription, Transport

_changes = Subscription.changes
BREAKS: dict[str, tuple[str, Callable[..., Any], Transport, str]] = {
    "parks nothing": ("_rejected", lambda self, *_: None, "delta", EDS),
    "parks nothing, state of the world": ("_rejected", lambda self, *_: None, "sotw", CDS),
    "forgets nothing": ("_forget", lambda self, _: None, "delta", CDS),
    "tells no removals": (
        "changes",
        lambda self, resources: Changes(_changes(self, resources).send, (), _changes(self, resources).missing),
        "delta",
        EDS,
    ),
    "does not say what is missing": (
        "changes",
        lambda self, resources: Changes(_changes(self, resources).send, _changes(self, resources).removed, ()),
        "delta",
        EDS,
    ),
    "sends only changed clusters": ("_whole_state", lambda self, changes: changes.send, "sotw", CDS),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_server_that(what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each break is found within 300 runs."""
    attribute, broken, transport, type_url = BREAKS[what]
    monkeypatch.setattr(Subscription, attribute, broken)
    machine = type("Machine", (AnyClient,), {"transport": transport, "type_url": type_url})
    how = settings(
        max_examples=300, stateful_step_count=30, phases=[Phase.generate], report_multiple_bugs=False, database=None
    )

    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=how)
