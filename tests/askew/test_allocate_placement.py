"""``askew allocate placement``: the format that others rely on, and one line for every mistake."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from askew.__main__ import main
from askew.cli.allocate import placement
from askew.errors import CommandError

EXAMPLE: dict[str, Any] = {
    "pod": {"name": "cart-9", "workload": "cart.default"},
    "nodes": [
        {"name": "n2", "pods": [{"name": "cart-9", "workload": "cart.default"}]},
        {"name": "n1", "pods": [{"name": "frontend-0", "workload": "frontend.default"}]},
        {"name": "n0"},
    ],
    "flows": [{"from": "frontend.default", "to": "cart.default", "bytes_per_s": 1000.0}],
}


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the example with the value at a path such as ``nodes.1.name`` replaced or added."""
    document = copy.deepcopy(EXAMPLE)
    *inside, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    holder: Any = document
    for key in inside:
        holder = holder[key]
    if isinstance(holder, list) and last == len(holder):
        holder.append(value)
    else:
        holder[last] = value
    return document


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file for the command to read."""
    return tmp_path / "placement.json"


def run(file: Path, document: object) -> Any:
    """Return what the command prints for a document, read strictly."""
    file.write_text(json.dumps(document))
    return json.loads(placement(str(file)), parse_constant=pytest.fail)


def test_highest_first_then_by_name(file: Path) -> None:
    """One entry for each node, scores are integers."""
    assert run(file, EXAMPLE) == {
        "scores": [{"node": "n1", "score": 10}, {"node": "n0", "score": 0}, {"node": "n2", "score": 0}]
    }


def test_the_command_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``askew allocate placement FILE`` prints the JSON and ends with 0."""
    file.write_text(json.dumps(EXAMPLE))

    assert main(["allocate", "placement", str(file), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"][0] == {"node": "n1", "score": 10}


def test_no_nodes_is_an_answer(file: Path) -> None:
    """There is nothing to score, and nothing wrong."""
    assert run(file, changed("nodes", [])) == {"scores": []}


def test_two_nodes_may_hold_pods_of_one_name(file: Path) -> None:
    """Names are unique in their list: two namespaces may have a web-0 each."""
    twice = changed("nodes.2.pods", [{"name": "frontend-0", "workload": "frontend.shop"}])

    assert run(file, twice)["scores"][0] == {"node": "n1", "score": 10}


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("pod", None, "pod: found nothing"),
        ("pod.workload", "", "pod.workload: found ''"),
        ("pod.node", "n1", "pod.node: "),
        ("nodes.0", "n2", "nodes[0]: found 'n2'"),
        ("nodes.3", {"name": "n1"}, "nodes[3].name: found 'node n1 a second time'"),
        ("nodes.1.pods.0.workload", 7, "nodes[1].pods[0].workload: found 7"),
        ("nodes.1.pods.1", {"name": "frontend-0", "workload": "x"}, "nodes[1].pods[1].name: found 'pod frontend-0 a"),
        ("flows.0.bytes_per_s", -1, "flows[0].bytes_per_s: found -1"),
        ("flows.0.bytes_per_s", float("nan"), "flows[0].bytes_per_s: found nan"),
        ("flows.0.bytes_per_s", float("inf"), "flows[0].bytes_per_s: found inf"),
        ("flows.0.bytes_per_s", True, "flows[0].bytes_per_s: found True"),
        ("flows.1", EXAMPLE["flows"][0], "flows[1]: found 'flow frontend.default to cart.default a second time'"),
        ("links", [], "links: "),
    ],
)
def test_a_mistake_is_one_line_with_its_path(file: Path, path: str, value: object, told: str) -> None:
    """The line names the file, the path inside it, what was found and what is allowed."""
    with pytest.raises(CommandError) as error:
        run(file, changed(path, value))

    assert error.value.exit_code == 2
    assert str(error.value).startswith(f"{file}: {told}")
    assert "allowed: " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_key_that_is_not_there_is_told(file: Path) -> None:
    """Pod, nodes and flows are all required."""
    for key in EXAMPLE:
        with pytest.raises(CommandError, match=f"{key}: .*required"):
            run(file, {name: value for name, value in EXAMPLE.items() if name != key})


def test_great_flows_stay_finite(file: Path) -> None:
    """The largest number that is taken leads to no overflow."""
    assert run(file, changed("flows.0.bytes_per_s", 1e250))["scores"][0]["score"] == 10
