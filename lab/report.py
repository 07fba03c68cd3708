"""What a demo has measured, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from lab.machine import BUSY


@dataclass(frozen=True, slots=True)
class Phase:
    """One measured window. Requests and latencies are the load's; shares, bytes and connections are the sidecars'."""

    requests: int
    failed: int
    cross_node_request_share: float
    cross_node_byte_share: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    connections: int
    lower_bound_cross_node_request_share: float
    mesh_requests: int  # all hops, as the servers' sidecars counted them
    cpu_busy_share: float  # of the whole machine, whoever kept it busy


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Both windows and the change between them."""

    app: str
    nodes: int
    seconds: float
    cross_node_delay_ms: int
    before: Phase
    after: Phase
    first_sidecar_s: float
    last_sidecar_s: float
    between_requests: int  # while the change went through, in neither window
    between_failed: int
    memory_bytes: int
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return self.before.failed + self.between_failed + self.after.failed

    def as_json(self) -> dict[str, Any]:
        """Return the report with the keys that the documentation fixes, and those of its own."""
        whole = asdict(self)
        whole["lower_bound_cross_node_request_share"] = self.after.lower_bound_cross_node_request_share
        whole["between"] = {"requests": whole.pop("between_requests"), "failed": whole.pop("between_failed")}
        return whole

    def write(self, file: Path) -> None:
        """Write the JSON to ``file``."""
        file.write_text(json.dumps(self.as_json(), indent=2) + "\n", "utf-8")

    def print(self, console: Console) -> None:
        """Print the table and what does not fit into it."""
        before, after = self.before, self.after
        title = (
            f"{self.app} on {self.nodes} nodes, {self.seconds:g} s each, {self.cross_node_delay_ms} ms between nodes"
        )
        table = Table(title=title, box=box.SIMPLE_HEAD)
        for heading in ("", "equal shares", "local-first", "lower bound"):
            table.add_column(heading, justify="left" if not heading else "right")
        bound = _percent(after.lower_bound_cross_node_request_share)
        row = table.add_row
        row("requests that cross nodes", *_both(_percent, before, after, "cross_node_request_share"), bound)
        row("bytes that cross nodes", *_both(_percent, before, after, "cross_node_byte_share"))
        for name in ("p50", "p95", "p99"):
            row(f"latency {name}", *_both(_milliseconds, before, after, f"{name}_ms"))
        row("connections", *_both(str, before, after, "connections"))
        row("requests of the load", *_both(str, before, after, "requests"))
        row("failed requests", *_both(str, before, after, "failed"))
        console.print(table)
        console.print(
            f"The change reached the first sidecar after {self.first_sidecar_s:.2f} s, the last "
            f"after {self.last_sidecar_s:.2f} s; {self.between_failed} of {self.between_requests} requests failed "
            "meanwhile.\n"
            f"Shares are requests and bytes that the servers' sidecars counted by source node; the bound is for the "
            f"client rates of the second window and equal load on all servers. "
            f"{self.memory_bytes / 2**20:.0f} MiB of memory.",
            soft_wrap=True,
            highlight=False,
        )
        if max(before.cpu_busy_share, after.cpu_busy_share) > BUSY:
            console.print(
                f"This machine's processors were busy {_percent(before.cpu_busy_share)} and "
                f"{_percent(after.cpu_busy_share)} of the time: the latencies say more about that than about the mesh.",
                soft_wrap=True,
                highlight=False,
            )


def _both(form: Any, before: Phase, after: Phase, name: str) -> tuple[str, str]:
    return form(getattr(before, name)), form(getattr(after, name))


def _percent(fraction: float) -> str:
    return f"{100.0 * fraction:.1f} %"


def _milliseconds(value_ms: float) -> str:
    return f"{value_ms:.1f} ms"
