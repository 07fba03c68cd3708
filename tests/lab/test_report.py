"""The demo's report: the keys that others rely on, and a table for people."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from lab.report import DemoReport, Phase

BEFORE = Phase(1000, 0, 0.66, 0.64, 20.0, 40.0, 50.0, 64, 0.21, 3666, 0.4)
AFTER = Phase(1010, 1, 0.205, 0.1, 15.0, 30.0, 40.0, 35, 0.2, 3700, 0.95)
REPORT = DemoReport("bookinfo", 3, 20.0, 2, BEFORE, AFTER, 0.25, 0.31, 90, 2, 400 * 2**20, {"status 503": 3})


def test_the_fixed_keys_are_there(tmp_path: Path) -> None:
    """Acceptance checks read these names."""
    REPORT.write(tmp_path / "demo.json")
    written = json.loads((tmp_path / "demo.json").read_text())
    phase = {"requests", "failed", "cross_node_request_share", "cross_node_byte_share", "p50_ms", "p95_ms", "p99_ms"}

    assert {"app", "nodes", "before", "after", "first_sidecar_s", "last_sidecar_s"} <= set(written)
    assert phase | {"connections"} <= set(written["before"]) & set(written["after"])
    assert written["lower_bound_cross_node_request_share"] == 0.2
    assert written["between"] == {"requests": 90, "failed": 2}


def test_all_failures_count() -> None:
    """Those during the change, too: that is when a mesh usually loses requests."""
    assert REPORT.failed == 3


def test_the_table_shows_before_after_and_the_bound() -> None:
    """One line has the cross-node share with equal shares, local-first, and the least possible."""
    out = io.StringIO()
    REPORT.print(Console(file=out, width=100))
    line = next(line for line in out.getvalue().splitlines() if "requests that cross nodes" in line)

    assert line.split()[-6:] == ["66.0", "%", "20.5", "%", "20.0", "%"]
    assert "2 of 90 requests failed" in out.getvalue()
    assert "processors were busy 40.0 % and 95.0 % of the time" in out.getvalue()
