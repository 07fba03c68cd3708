"""The Grafana dashboard: panels that can be read, and expressions that Prometheus takes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parents[2]
BOARD: dict[str, Any] = json.loads((HERE / "manifests/monitoring/dashboard.json").read_text())
TARGETS = [(panel["title"], target) for panel in BOARD["panels"] for target in panel["targets"]]
OF_THE_SCRAPE = {"instance"}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian: prometheus)")


def labels_of() -> dict[str, set[str]]:
    """Return the labels of each metric, as docs/interfaces.md lists them."""
    rows = re.findall(
        r"^\| (`askew_[^|]*)\|([^|]*)\| built \|", (HERE / "docs/interfaces.md").read_text(), re.MULTILINE
    )
    return {name: set(re.findall(r"\w+", labels)) for names, labels in rows for name in re.findall(r"`(\w+)`", names)}


def promtool(*arguments: str, file: Path, content: dict[str, Any]) -> None:
    """Let Prometheus' own tool judge a file."""
    file.write_text(yaml.safe_dump(content))
    done = subprocess.run(
        ["promtool", *arguments, str(file)], capture_output=True, text=True, timeout=60, check=False, cwd=file.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_lie_beside_each_other() -> None:
    """Each has a number of its own, and no two one place."""
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in BOARD["panels"]]

    assert [panel["id"] for panel in BOARD["panels"]] == list(range(1, len(places) + 1))
    assert places == [(12 * (i % 2), 8 * (i // 2)) for i in range(len(places))]


def test_an_operator_sees_who_decides_and_what_went_wrong() -> None:
    """What the pages of alerts ask for first is there to be seen."""
    shown = {name for _, target in TARGETS for name in re.findall(r"askew_\w+", target["expr"])}

    assert shown >= {
        "askew_leads", "askew_node_agents", "askew_xds_rollbacks_total", "askew_target_share",
        "askew_scheduler_requests_total", "askew_sidecars_missing", "askew_xds_inconsistent_snapshots_total",
    }  # fmt: skip


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_legends_name_labels_that_there_are(title: str, target: dict[str, str]) -> None:
    """A label that no metric of the expression has would be an empty legend."""
    known = labels_of()
    metrics = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"askew_\w+", target["expr"])}
    there = set.union(*(known[name] for name in metrics)) | OF_THE_SCRAPE

    assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= there, title


@needs_promtool
def test_prometheus_takes_the_expressions(tmp_path: Path) -> None:
    """As recording rules, which are read by the same parser."""
    rules = [{"record": f"panel:{i}", "expr": target["expr"]} for i, (_, target) in enumerate(TARGETS)]

    promtool("check", "rules", file=tmp_path / "rules.yaml", content={"groups": [{"name": "board", "rules": rules}]})


@needs_promtool
def test_targets_are_shown_against_their_services_mean(tmp_path: Path) -> None:
    """Two replicas tell the same; the endpoint with three quarters of two has one and a half times the mean."""
    [expression] = [target["expr"] for _, target in TARGETS if "askew_target_share" in target["expr"]]
    series = [
        {"series": f'askew_target_share{{service="s",endpoint="{one}",instance="{replica}"}}', "values": share}
        for one, share in (("a", "0.75"), ("b", "0.25"))
        for replica in ("r1", "r2")
    ]
    samples = [
        {"labels": f'{{service="s",endpoint="{one}"}}', "value": value} for one, value in (("a", 1.5), ("b", 0.5))
    ]
    asked = {"expr": expression, "eval_time": "0m", "exp_samples": samples}
    tests = [{"interval": "1m", "input_series": series, "promql_expr_test": [asked]}]

    promtool("test", "rules", file=tmp_path / "test.yaml", content={"rule_files": [], "tests": tests})
