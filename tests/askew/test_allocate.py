"""``askew allocate traffic``: the format that others rely on, and one line for every mistake."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askew.__main__ import main
from askew.cli.allocate import traffic
from askew.errors import CommandError

FIGURE_8: dict[str, Any] = {
    "nodes": [{"name": "n1", "zone": "z1", "region": "r1"}, {"name": "n2", "zone": "z1", "region": "r1"}],
    "clients": [
        {"name": "u0", "node": "n1", "requests_per_s": 1.0, "latency_ms": 4.0},
        {"name": "u1", "node": "n2", "requests_per_s": 1.0, "latency_ms": 4.0},
    ],
    "endpoints": [
        {"name": "d0", "node": "n1", "capacity": 1.0, "target": None},
        {"name": "d1", "node": "n1", "capacity": 1.0, "target": None},
        {"name": "d2", "node": "n2", "capacity": 1.0, "target": None},
    ],
    "policy": {"routing": "local-first", "connections": 10, "max_overload": 1.0, "strategy": "askew"},
}


def changed(path: str, value: object) -> dict[str, Any]:
    """Return figure 8 with the value at a path such as ``clients.1.node`` replaced."""
    document = copy.deepcopy(FIGURE_8)
    *inside, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    holder: Any = document
    for key in inside:
        holder = holder[key]
    holder[last] = value
    return document


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file for the command to read."""
    return tmp_path / "traffic.json"


def run(file: Path, document: object) -> dict[str, Any]:
    """Return what the command prints for a document, read strictly."""
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return json.loads(traffic(str(file)), parse_constant=pytest.fail)  # type: ignore[no-any-return]


def test_the_output_has_these_fields(file: Path) -> None:
    """The names are fixed; shares hold only entries above 0, and each client's sum to 1."""
    out = run(file, FIGURE_8)

    assert out.keys() >= {
        "shares",
        "targets",
        "local_share",
        "cross_node_share",
        "lower_bound_cross_node_share",
        "connections",
        "max_connections_per_client",
        "target_deviation",
    }
    shares = {(entry["client"], entry["endpoint"]): entry["share"] for entry in out["shares"]}
    assert shares == pytest.approx(
        {("u0", "d0"): 1 / 2, ("u0", "d1"): 1 / 2, ("u1", "d0"): 1 / 6, ("u1", "d1"): 1 / 6, ("u1", "d2"): 2 / 3}
    )
    assert out["targets"] == pytest.approx({"d0": 2 / 3, "d1": 2 / 3, "d2": 2 / 3})
    assert (out["connections"], out["max_connections_per_client"]) == (5, 3)
    assert out["cross_node_share"] == pytest.approx(1 / 6)
    assert out["local_share"] == pytest.approx(5 / 6)


def test_the_command_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``askew allocate traffic FILE -o json`` prints the same as without ``-o`` and ends with 0."""
    file.write_text(json.dumps(FIGURE_8))

    assert main(["allocate", "traffic", str(file), "-o", "json"]) == 0
    assert capsys.readouterr().out == traffic(str(file)) + "\n"


@pytest.mark.parametrize("strategy", ["askew", "opttraffic", "imbres"])
@pytest.mark.parametrize("connections", [1, 2, "all", None])
def test_every_strategy_with_every_kind_of_k(file: Path, strategy: str, connections: object) -> None:
    """All combinations give rows that sum to 1."""
    document = changed("policy.strategy", strategy)
    document["policy"]["connections"] = connections
    shares = run(file, document)["shares"]

    for client in ("u0", "u1"):
        assert sum(entry["share"] for entry in shares if entry["client"] == client) == pytest.approx(1.0)


def test_only_what_is_needed_must_be_there(file: Path) -> None:
    """Zone, region, capacity, target, latency, connections, overload and strategy may all be left out."""
    bare = {
        "nodes": [{"name": "n"}],
        "clients": [{"name": "u", "node": "n", "requests_per_s": 2}],
        "endpoints": [{"name": "d", "node": "n"}],
        "policy": {"routing": "uniform"},
    }

    assert run(file, bare)["shares"] == [{"client": "u", "endpoint": "d", "share": 1.0}]


def test_targets_in_any_unit(file: Path) -> None:
    """Targets of 30, 10, 0 for 2 requests/s mean 1.5, 0.5, 0."""
    document = changed("policy.routing", "imbalance-aware")
    for endpoint, target in zip(document["endpoints"], (30, 10, 0), strict=True):
        endpoint["target"] = target
    out = run(file, document)

    assert out["targets"] == pytest.approx({"d0": 1.5, "d1": 0.5, "d2": 0.0})
    assert "d2" not in {entry["endpoint"] for entry in out["shares"]}


def test_no_clients_no_shares(file: Path) -> None:
    """Nothing to do is no mistake."""
    out = run(file, changed("clients", []))

    assert (out["shares"], out["local_share"], out["target_deviation"]) == ([], 1.0, 0.0)


BAD = [
    (changed("nodes.1.name", "n1"), "nodes[1].name"),
    (changed("nodes.0.rack", 1), "nodes[0].rack"),
    (changed("clients.1.node", "n9"), "clients[1].node"),
    (changed("clients.1.name", "u0"), "clients[1].name"),
    (changed("clients.0.requests_per_s", -1), "clients[0].requests_per_s"),
    (changed("clients.0.requests_per_s", "1"), "clients[0].requests_per_s"),
    (changed("clients.0.requests_per_s", float("nan")), "clients[0].requests_per_s"),
    (changed("clients.0.requests_per_s", float("inf")), "clients[0].requests_per_s"),
    (changed("clients.0.requests_per_s", 10**400), "clients[0].requests_per_s"),
    (changed("clients.0.requests_per_s", True), "clients[0].requests_per_s"),
    (changed("clients.1.latency_ms", -4), "clients[1].latency_ms"),
    (changed("endpoints.2.capacity", 0), "endpoints[2].capacity"),
    (changed("endpoints.2.name", "d1"), "endpoints[2].name"),
    (changed("endpoints.2.node", None), "endpoints[2].node"),
    (changed("endpoints.1.target", 1.0), "endpoints[1].target"),
    (changed("endpoints.0.target", 1.0), "endpoints[1].target"),
    (changed("endpoints", []), "endpoints"),
    (changed("endpoints", {}), "endpoints"),
    (changed("policy.routing", "off"), "policy.routing"),
    (changed("policy.routing", "imbalance-aware"), "endpoints[0].target"),
    (changed("policy.connections", 0), "policy.connections"),
    (changed("policy.connections", 1.5), "policy.connections"),
    (changed("policy.connections", "some"), "policy.connections"),
    (changed("policy.max_overload", 0.9), "policy.max_overload"),
    (changed("policy.strategy", ["askew"]), "policy.strategy"),
    (changed("policy.colour", 1), "policy.colour"),
    (changed("policy", None), "policy"),
    (changed("extra", 1), "extra"),
]


@pytest.mark.parametrize(("document", "path"), BAD, ids=[f"{i}-{path}" for i, (_, path) in enumerate(BAD)])
def test_a_mistake_is_told_by_its_path(
    file: Path, capsys: pytest.CaptureFixture[str], document: object, path: str
) -> None:
    """Exit code 2 and one line with the file's name and the path inside it."""
    file.write_text(json.dumps(document))

    assert main(["allocate", "traffic", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{file}: {path}: found ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"nodes": [], "nodes": []}', "[" * 100_000, "\x00", "nodes: []"]
)
def test_what_is_no_such_file_is_told_by_its_name(file: Path, text: str) -> None:
    """Broken, empty or doubled: the file's name and a reason."""
    file.write_text(text)

    with pytest.raises(CommandError, match=r"traffic\.json: [^\n]+$") as refused:
        traffic(str(file))
    assert refused.value.exit_code == 2


odd = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        1.5,
        5e-324,
        1e300,
        1e308,
        10**30,
        float("nan"),
        float("inf"),
        "",
        "n1",
        "all",
        "\U0001f600",
        [],
        {},
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Draw figure 8 with 1 to 4 wounds, or torn."""
    document: Any = copy.deepcopy(FIGURE_8)
    for _ in range(draw(st.integers(1, 4))):
        holder = document
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(holder[key], (dict, list)) and holder[key] and draw(st.integers(0, 4)):
                holder = holder[key]
                continue
            if draw(st.booleans()):
                holder[key] = draw(odd)
            else:
                del holder[key]
            break
    text = json.dumps(document)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 4)) == 0 else text


@settings(max_examples=300)
@given(text=mutated())
def test_a_mutated_file_is_shares_or_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """300 files with wounds: rows that sum to 1 and finite numbers, or a refusal in one line; nothing else escapes."""
    file = tmp_path_factory.getbasetemp() / "mutated.json"
    file.write_text(text)
    try:
        out = json.loads(traffic(str(file)), parse_constant=pytest.fail)
    except CommandError as error:
        message = str(error)
        assert message.startswith(f"{file}: ")
        assert "\n" not in message
    else:
        sums: dict[str, float] = {}
        for entry in out["shares"]:
            sums[entry["client"]] = sums.get(entry["client"], 0.0) + entry["share"]
        assert list(sums.values()) == pytest.approx([1.0] * len(sums))
