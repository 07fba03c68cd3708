"""``docs/xds.md`` says what the suite tries and where the other rules are tested."""

from __future__ import annotations

import re
from pathlib import Path

from tests.xds.rule import RULES
from tests.xds.suite import table

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "xds.md").read_text(encoding="utf-8")


def test_the_table_of_rules_is_the_register() -> None:
    """``python -m tests.xds.suite --list`` prints the table as it must stand there."""
    assert "\n".join(table()) in PAGE


def test_the_tests_that_the_page_names_exist() -> None:
    """Each ``file::test`` is there."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    missing = [
        f"{file}::{name}" for file, name in named if not re.search(rf"def {name}\(", (ROOT / file).read_text("utf-8"))
    ]

    assert len(named) > 15
    assert missing == []


def test_the_rules_that_the_comparison_names_exist() -> None:
    """A cell of the last column names rules of the suite."""
    comparison = PAGE.split("## go-control-plane and Askew")[1].split("\n## ")[0]
    cells = [line.split("|")[3] for line in comparison.splitlines() if line.startswith("|")]
    named = {name for cell in cells for name in re.findall(r"`([a-z0-9-]+)`", cell)}

    assert len(named) > 25
    assert named - set(RULES) == set()
