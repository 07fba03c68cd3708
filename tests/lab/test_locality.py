"""The comparison of localities: its grid, its options, and one small cell on real Envoys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.locality import POLICIES, LocalitySettings
from tests.lab.command_line import askew_lab, left_of


def test_the_grid_has_a_mesh_for_every_combination() -> None:
    """Nodes × replicas × seeds, a whole grid of one seed before the next: a run that is ended has a table."""
    cells = LocalitySettings("chain", nodes=(3, 5), replicas=(1, 8), seeds=(1, 2), seconds=5.0).cells

    assert [(cell.seed, cell.replicas, cell.nodes) for cell in cells] == [
        (1, 1, 3),
        (1, 1, 5),
        (1, 8, 3),
        (1, 8, 5),
        (2, 1, 3),
        (2, 1, 5),
        (2, 8, 3),
        (2, 8, 5),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodes", "1"], "found '1', allowed: whole numbers from 2 to 9, with commas between them, each once"),
        (["--nodes", "3,3"], "found '3,3', allowed: whole numbers from 2 to 9"),
        (["--replicas", "1,many"], "found '1,many', allowed: whole numbers from 1 to 20"),
    ],
)
def test_a_bad_option_is_one_line(arguments: list[str], message: str) -> None:
    """Exit code 2, one line on stderr, what was found and what is allowed."""
    ended = askew_lab("bench", "locality", *arguments)

    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_an_unknown_bench_is_refused() -> None:
    """The names that exist are listed."""
    ended = askew_lab("bench", "speed")

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "locality" in ended.stderr


@pytest.mark.slow
def test_each_policy_does_what_it_says_on_real_envoys(tmp_path: Path, envoy: Path) -> None:
    """Equal shares cross most; Askew is near the bound with balanced servers; PreferSameNode overloads some.

    A chain on 2 nodes with 3 replicas: 2 and 1 of each, so keeping all at home fills the lonely ones.
    """
    options = ("--app", "chain", "--nodes", "2", "--replicas", "3", "--seconds", "6")
    ended = askew_lab("bench", "locality", *options, "--json", str(tmp_path / "rows.json"), temporary=tmp_path)
    assert ended.returncode == 0, ended.stderr
    uniform, askew, same_node = rows = json.loads((tmp_path / "rows.json").read_text())

    assert tuple(row["policy"] for row in rows) == POLICIES
    assert all(row["requests"] > 500 and row["failed"] == 0 for row in rows)
    assert uniform["cross_node_byte_share"] > askew["cross_node_byte_share"] + 0.15
    assert askew["cross_node_byte_share"] < askew["lower_bound_cross_node_byte_share"] + 0.08
    assert same_node["cross_node_request_share"] == 0.0
    assert same_node["worst_max_over_mean_load"] > askew["worst_max_over_mean_load"] + 0.1
    assert ended.stdout.count("| prefer-same-node |") == 1
    assert left_of(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]
