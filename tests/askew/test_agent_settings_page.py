"""The page of the node agent says what its settings are."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from askew.node_agent import EnforceSettings

PAGE = Path(__file__).resolve().parents[2] / "docs/enforcer.md"


def as_written(value: object) -> str:
    """Return a default as a file would have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_table_of_the_agents_settings_is_whole() -> None:
    """Every setting of the sections ``api`` and ``agent`` stands there with its default, and nothing else."""
    table = re.findall(r"^\| `((?:api|agent)\.\w+)` \| (?:`([^`]*)`)? ?\|", PAGE.read_text(), re.MULTILINE)
    settings = EnforceSettings()
    exist = {
        f"{section}.{key.name}": as_written(getattr(getattr(settings, section), key.name))
        for section in ("api", "agent")
        for key in fields(getattr(settings, section))
    }

    assert dict(table) == exist
