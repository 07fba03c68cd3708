"""``askew lab simulate``: rows as fixed, errors in one line."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from askew.errors import CommandError
from lab.simulator.command import add_arguments, run
from lab.simulator.scenario import Kill
from lab.simulator.scenarios import SCENARIOS

FIXED = {
    "scenario",
    "policy",
    "seed",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "p999_ms",
    "slo_violations",
    "cross_node_share",
    "connections",
    "max_over_mean_utilisation",
}


def simulate(*words: str) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(words))


def test_one_row_a_policy_and_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is a list with the fixed keys, policy by policy, seeds from 1; the table says that it is simulated."""
    file = tmp_path / "rows.json"

    code = simulate("--scenario", "smoke", "--policies", "random,opttraffic", "--seeds", "2", "--json", str(file))

    rows = json.loads(file.read_text())
    assert code == 0
    assert [(row["policy"], row["seed"]) for row in rows] == [
        ("random", 1),
        ("random", 2),
        ("opttraffic", 1),
        ("opttraffic", 2),
    ]
    assert all(set(row) >= FIXED for row in rows)
    assert all(0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] <= row["p999_ms"] for row in rows)
    assert rows[0]["cross_node_share"] > rows[2]["cross_node_share"]
    assert rows[0]["connections"] > rows[2]["connections"]
    assert capsys.readouterr().out.startswith("simulated: smoke")


def test_a_shipped_application_is_a_scenario(tmp_path: Path) -> None:
    """The topologies of the lab run in several tiers."""
    file = tmp_path / "rows.json"

    simulate("--scenario", "bookinfo", "--policies", "round-robin", "--seeds", "1", "--json", str(file))

    (row,) = json.loads(file.read_text())
    assert row["scenario"] == "bookinfo"
    assert row["failed"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scenario", "s3"), "--scenario: found 's3', allowed: s2 | "),
        (("--policies", "random,,"), "--policies: found '', allowed: random | "),
        (("--json", "no/such/folder/rows.json"), "no such folder"),
    ],
)
def test_wrong_names_are_one_line(words: tuple[str, ...], message: str) -> None:
    """What was found and what is allowed, nothing run."""
    with pytest.raises(CommandError) as caught:
        simulate(*words)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_seeds_are_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    """Zero seeds, or words, are refused by the parser."""
    with pytest.raises(SystemExit):
        simulate("--seeds", "0")

    assert "allowed: an integer from 1 to 1000" in capsys.readouterr().err


def test_a_picture_and_what_followed_a_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scenario with a step says how it ended; the picture is written; another ending is refused."""
    file = tmp_path / "p99.svg"
    short = SCENARIOS["smoke"]().shortened(duration_s=10.0, warmup_s=0.5)
    stepped = replace(short, kills=(Kill(0, 0, 5.0),))
    monkeypatch.setattr("lab.simulator.command._scenarios", lambda: {"stepped": lambda: stepped})

    simulate("--scenario", "stepped", "--policies", "random", "--seeds", "1", "--picture", str(file))

    assert "5 s: new level" in capsys.readouterr().out
    assert file.read_text().startswith("<?xml")
    with pytest.raises(CommandError, match="--picture: found"):
        simulate("--scenario", "stepped", "--picture", str(tmp_path / "p99.txt"))
