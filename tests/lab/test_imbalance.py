"""The comparison of imbalances: its phases, its table, its picture, its options, and a short run on real Envoys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.imbalance_picture import draw, median_over_time
from lab.imbalance_report import HEADINGS, markdown, ratios, runs_from_json, runs_json, table
from lab.imbalance_run import ENDPOINTS, PHASES, Figures, Run, RunSettings
from lab.topology_file import parse_application
from tests.lab.command_line import askew_lab, left_of

FAIR = 1.0 / ENDPOINTS


def run_of(policy: str, repeat: int, *, p99_ms: float, failed: int = 0) -> Run:
    figures = Figures(100, failed, 10.0, p99_ms, 0.05, 0.2)
    failures = {"status 503": failed} if failed else {}
    return Run(policy, repeat, 1.0, (1, 3), dict.fromkeys(PHASES, figures), (figures,) * 4, failures, 0.5)


def test_each_second_belongs_to_its_phases() -> None:
    """Settled is the second half of the antagonist's time, when even the slowest to react has had time."""
    settings = RunSettings(before_s=2, on_s=4, after_s=2)

    assert [settings.phases_of(second) for second in range(settings.seconds)] == [
        ("before",),
        ("before",),
        ("on",),
        ("on",),
        ("on", "settled"),
        ("on", "settled"),
        ("after",),
        ("after",),
    ]


def test_clients_and_containers_stand_on_all_nodes() -> None:
    """2 senders and 2 containers on each of 3 nodes: no node is a special one."""
    application = parse_application(RunSettings(clients_per_node=2).topology, name="shop")

    assert [replica.node for replica in application.replicas_of["shop"]] == ["n1", "n1", "n2", "n2", "n3", "n3"]
    assert application.load.containers == 2
    assert set(application.load.nodes) == {"n1", "n2", "n3"}


def test_a_ratio_compares_runs_of_the_same_repeat() -> None:
    """What else the machine did in repeat 2 met both: 300 of 600 is as good as 100 of 200."""
    runs = [
        run_of("least-request", 1, p99_ms=200.0),
        run_of("askew", 1, p99_ms=100.0),
        run_of("askew", 2, p99_ms=300.0),
        run_of("least-request", 2, p99_ms=600.0),
        run_of("askew", 3, p99_ms=50.0),
    ]

    assert ratios("askew", runs, phase="settled") == [0.5, 0.5]


def test_the_table_has_a_line_for_each_policy() -> None:
    """Median, and the range of all runs; failures are summed, not averaged away."""
    runs = [run_of("askew", repeat, p99_ms=100.0 * repeat, failed=repeat - 1) for repeat in (1, 2, 3)]
    (line,) = table(runs)

    assert len(line) == len(HEADINGS)
    assert line[:3] == ("askew", "3", "200 (100 to 300)")
    assert line[-1] == "3"
    assert markdown(runs).count("\n") == 2


def test_runs_survive_the_way_through_a_file() -> None:
    """A picture can be drawn from what an earlier comparison has written."""
    runs = [run_of("askew", 1, p99_ms=100.0, failed=2), run_of("least-request", 1, p99_ms=200.0)]

    assert runs_from_json(json.loads(json.dumps(runs_json(runs)))) == runs


def test_the_picture_shows_every_policy(tmp_path: Path) -> None:
    """One line a policy, its name in the legend; the same runs give the same bytes."""
    runs = [run_of("askew", 1, p99_ms=100.0), run_of("askew", 2, p99_ms=300.0), run_of("round-robin", 1, p99_ms=9.0)]
    for name in ("a.svg", "b.svg"):
        draw(tmp_path / name, runs)
    text = (tmp_path / "a.svg").read_text()

    assert median_over_time(runs[:2], lambda one: one.p99_ms) == [200.0] * 4
    assert "askew" in text
    assert "round-robin" in text
    assert text == (tmp_path / "b.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policies", "askew,askew"], "found 'askew,askew', allowed: of round-robin, least-request"),
        (["--policies", "fastest"], "found 'fastest', allowed: of round-robin, least-request"),
        (["--repeats", "0"], "found '0', allowed: a whole number from 1 to 100"),
    ],
)
def test_a_bad_option_is_one_line(arguments: list[str], message: str) -> None:
    """Exit code 2, one line on stderr, what was found and what is allowed."""
    ended = askew_lab("bench", "imbalance", *arguments)

    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_load_leaves_the_slow_container_and_returns(tmp_path: Path, envoy: Path) -> None:
    """On real Envoys the slow container's share falls below a half of fair, comes back, and nothing fails."""
    times = ("--warm-up", "10", "--before", "2", "--on", "16", "--after", "16")
    options = ("--policies", "askew", "--repeats", "1", *times, "--json", str(tmp_path / "runs.json"))
    ended = askew_lab("bench", "imbalance", *options, temporary=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (run,) = runs_from_json(json.loads((tmp_path / "runs.json").read_text()))

    assert run.failures == {}
    assert run.phases["on"].requests > 2000
    assert run.phases["before"].slow_share > 0.75 * FAIR
    assert run.phases["settled"].slow_share < 0.5 * FAIR
    assert max(second.slow_share for second in run.seconds[-4:]) > 0.75 * FAIR
    assert "| askew | 1 |" in ended.stdout
    assert left_of(tmp_path) == []
