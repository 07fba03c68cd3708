"""``askew estimate``: the file formats line by line, and no file whatever that brings a traceback."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest

from askew.__main__ import main

SEED = 4


def sample(container: str, time_s: float, receive_bytes: int, transmit_bytes: int) -> dict[str, Any]:
    return {
        "container": container,
        "time_s": time_s,
        "receive_bytes": receive_bytes,
        "transmit_bytes": transmit_bytes,
    }


def link_file(**changes: Any) -> dict[str, Any]:
    """frontend (2 containers) sends 300 and 100 B/s to cart, which answers 1000 and 200 B/s."""
    content = {
        "calls": [["frontend", "cart"]],
        "containers": [
            {"name": "frontend-0", "service": "frontend", "node": "n1"},
            {"name": "frontend-1", "service": "frontend", "node": "n2"},
            {"name": "cart-0", "service": "cart", "node": "n1"},
        ],
        "counters": [
            sample("frontend-0", 0.0, 0, 0),
            sample("frontend-0", 10.0, 10000, 3000),
            sample("frontend-1", 0.0, 500, 500),
            sample("frontend-1", 10.0, 2500, 1500),
            sample("cart-0", 0.0, 7, 7),
            sample("cart-0", 10.0, 4007, 12007),
        ],
        "shares": [
            {"client": "frontend-0", "endpoint": "cart-0", "share": 1.0},
            {"client": "frontend-1", "endpoint": "cart-0", "share": 1.0},
        ],
        "measured": [],
    }
    return content | changes


def flow_file(**changes: Any) -> dict[str, Any]:
    rows = [(0.0, 0, 0), (10.0, 600, 400), (20.0, 600, 400)]
    content = {
        "method": "mean",
        "half_life_s": 60.0,
        "samples": [
            {
                "time_s": time_s,
                "reporter": "destination",
                "from": "frontend.default",
                "to": "cart.default",
                "request_bytes": requests,
                "response_bytes": responses,
            }
            for time_s, requests, responses in rows
        ],
    }
    return content | changes


class Command:
    """Runs ``askew estimate`` on a value or a text and reads what it printed."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file, self._capsys = folder / "input.json", capsys

    def run(self, what: str, content: object) -> tuple[int, str, str]:
        text = content if isinstance(content, str) else json.dumps(content)
        self.file.write_text(text, encoding="utf-8")
        try:
            code = main(["estimate", what, str(self.file)])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def output(self, what: str, content: object) -> dict[str, Any]:
        code, out, err = self.run(what, content)
        assert (code, err) == (0, "")
        result: dict[str, Any] = json.loads(out, parse_constant=pytest.fail)
        return result

    def refusal(self, what: str, content: object) -> str:
        """Return the line without the file's name."""
        code, out, err = self.run(what, content)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"{self.file}: ")
        return err.removeprefix(f"{self.file}: ").rstrip()


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


def test_links_of_a_tree(command: Command) -> None:
    """Both directions, exact, peeled, with the parts of each client, nothing to measure and nothing left over."""
    result = command.output("links", link_file())
    links = [(link["from"], link["to"], link["bytes_per_s"], link["method"]) for link in result["links"]]
    assert links == [("frontend", "cart", 400.0, "peeled"), ("cart", "frontend", 1200.0, "peeled")]
    parts = {(link["from"], link["to"]): link["bytes_per_s"] for link in result["container_links"]}
    assert parts == pytest.approx(
        {
            ("frontend-0", "cart-0"): 300.0,
            ("frontend-1", "cart-0"): 100.0,
            ("cart-0", "frontend-0"): 1000.0,
            ("cart-0", "frontend-1"): 200.0,
        }
    )
    assert (result["to_measure"], result["residual"], result["warnings"]) == ([], 0.0, [])


def test_shares_and_measured_are_optional(command: Command) -> None:
    """Without them: the same links, no container links."""
    content = link_file()
    del content["shares"], content["measured"]
    assert command.output("links", content)["container_links"] == []


def test_a_triangle_asks_for_its_idlest_service_and_is_exact_with_it(command: Command) -> None:
    """a-b 10/20, b-c 30/40, c-a 50/60 B/s; b is idlest; measured, the rest peels."""
    sent = {"a": 10 + 60, "b": 20 + 30, "c": 40 + 50}
    received = {"a": 20 + 50, "b": 10 + 40, "c": 30 + 60}
    content = {
        "calls": [["a", "b"], ["b", "c"], ["c", "a"], ["a", "b"], ["b", "a"]],
        "containers": [{"name": f"{name}-0", "service": name, "node": "n1"} for name in "abc"],
        "counters": [
            sample(f"{name}-0", time_s, round(received[name] * time_s), round(sent[name] * time_s))
            for name in "abc"
            for time_s in (10.0, 0.0)
        ],
    }
    before = command.output("links", content)
    assert (before["to_measure"], {link["method"] for link in before["links"]}) == (["b"], {"estimated"})
    assert before["residual"] == pytest.approx(0.0, abs=1e-9)
    rates = {("a", "b"): 10.0, ("b", "a"): 20.0, ("b", "c"): 30.0, ("c", "b"): 40.0}
    measured = [{"from": source, "to": target, "bytes_per_s": rate} for (source, target), rate in rates.items()]
    after = command.output("links", content | {"measured": measured})
    assert after["to_measure"] == []
    assert {(link["from"], link["to"]): (link["bytes_per_s"], link["method"]) for link in after["links"]} == {
        ends: (rate, "measured") for ends, rate in rates.items()
    } | {("c", "a"): (50.0, "peeled"), ("a", "c"): (60.0, "peeled")}


def test_a_self_call_is_a_warning(command: Command) -> None:
    """The rest of the file is read as ever."""
    result = command.output("links", link_file(calls=[["frontend", "cart"], ["cart", "cart"]]))
    assert len(result["links"]) == 2
    assert "cart" in result["warnings"][0]


def test_a_duplicate_time_is_a_warning_with_the_containers_name(command: Command) -> None:
    """The interval between two values of one time has no rate; the others stand."""
    content = link_file()
    content["counters"].append(sample("cart-0", 10.0, 5000, 13000))
    result = command.output("links", content)
    assert ["cart-0" in text for text in result["warnings"]] == [True]
    assert result["links"][0]["bytes_per_s"] == 400.0


def test_an_identical_sample_twice_is_ignored_with_a_warning(command: Command) -> None:
    """Same links, one warning with the name."""
    content = link_file()
    content["counters"].append(content["counters"][-1])
    result = command.output("links", content)
    assert result["links"] == command.output("links", link_file())["links"]
    assert ["cart-0" in text for text in result["warnings"]] == [True]


def test_a_restart_counts_from_zero(command: Command) -> None:
    """cart-0 fell to 100 at 5 s and reached 4100: receive counts 100 + 4000 more."""
    content = link_file(shares=[])
    content["counters"][4:] = [
        sample("cart-0", 0.0, 9000, 9000),
        sample("cart-0", 5.0, 100, 200),
        sample("cart-0", 10.0, 4000, 12000),
    ]
    assert command.output("links", content)["residual"] == 0.0


def test_empty_lists_are_an_empty_picture(command: Command) -> None:
    """No services: no links, nothing to measure."""
    result = command.output("links", {"calls": [], "containers": [], "counters": []})
    assert (result["links"], result["container_links"], result["to_measure"], result["residual"]) == ([], [], [], 0.0)


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("calls[0][1]", {"calls": [["frontend", "ghost"]]}),
        ("calls[1]", {"calls": [["frontend", "cart"], ["cart"]]}),
        ("calls[0]", {"calls": ["frontend cart"]}),
        ("containers[1].name", {"containers": [{"name": "a", "service": "s"}] * 2}),
        ("containers[0].service", {"containers": [{"name": "a"}]}),
        ("counters[0].container", {"counters": [sample("ghost", 0, 0, 0)]}),
        ("counters[0].receive_bytes", {"counters": [sample("cart-0", 0, -1, 0)]}),
        ("counters[0].transmit_bytes", {"counters": [sample("cart-0", 0, 0, 1.5)]}),  # type: ignore[arg-type]
        ("counters[0].transmit_bytes", {"counters": [sample("cart-0", 0, 0, True)]}),
        ("counters[0].receive_bytes", {"counters": [sample("cart-0", 0, math.nan, 0)]}),  # type: ignore[arg-type]
        ("counters[0].time_s", {"counters": [sample("cart-0", math.inf, 0, 0)]}),
        ("shares[0].endpoint", {"shares": [{"client": "frontend-0", "endpoint": "ghost", "share": 1.0}]}),
        ("shares[0].share", {"shares": [{"client": "frontend-0", "endpoint": "cart-0", "share": 1.5}]}),
        ("shares[1]", {"shares": [{"client": "frontend-0", "endpoint": "cart-0", "share": 1.0}] * 2}),
        ("measured[0].from", {"measured": [{"from": "ghost", "to": "cart", "bytes_per_s": 1.0}]}),
        ("measured[0]", {"measured": [{"from": "cart", "to": "cart", "bytes_per_s": 1.0}]}),
        ("measured[1]", {"measured": [{"from": "frontend", "to": "cart", "bytes_per_s": 1.0}] * 2}),
        ("measured[0].bytes_per_s", {"measured": [{"from": "frontend", "to": "cart", "bytes_per_s": -1.0}]}),
        ("calls", {"calls": None}),
        ("extra", {"extra": 1}),
    ],
)
def test_a_wrong_link_file_is_refused_with_its_path(command: Command, path: str, changes: dict[str, Any]) -> None:
    """Exit 2, one line: the file, the path, what was found, what is allowed."""
    refusal = command.refusal("links", link_file(**changes))
    assert refusal.startswith(f"{path}: found ")
    assert ", allowed: " in refusal


@pytest.mark.parametrize("what", ["links", "flows"])
@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2", "calls: []", '{"a": 1, "a": 2}', "[" * 100_000, "[" + "9" * 5000 + "]"]
)
def test_text_that_is_no_json_is_refused_with_the_files_name(command: Command, what: str, text: str) -> None:
    """Broken, empty, YAML, a key twice, absurdly deep or long: the file's name and one line."""
    assert command.refusal(what, text).startswith("found ")


def test_a_missing_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """One line with its name."""
    assert main(["estimate", "links", "no-such-file.json"]) == 2
    assert capsys.readouterr().err.startswith("no-such-file.json: ")


def test_flows_by_the_papers_mean(command: Command) -> None:
    """1000 bytes in 20 s: 50 bytes/s."""
    assert command.output("flows", flow_file()) == {
        "flows": [{"from": "frontend.default", "to": "cart.default", "bytes_per_s": 50.0}],
        "warnings": [],
    }


def test_flows_by_ewma_are_the_default(command: Command) -> None:
    """100 bytes/s, then 0 for 10 s of a 60 s half-life."""
    content = flow_file()
    del content["method"], content["half_life_s"]
    (flow,) = command.output("flows", content)["flows"]
    assert flow["bytes_per_s"] == pytest.approx(100 * 2 ** (-10 / 60))


def test_only_the_destination_reports(command: Command) -> None:
    """A source report beside it changes nothing; alone, or without a reporter, it counts."""
    content = flow_file()
    from_source = [
        row | {"reporter": "source", "request_bytes": 9 * row["request_bytes"]} for row in content["samples"]
    ]
    expected = command.output("flows", content)
    assert command.output("flows", flow_file(samples=from_source + content["samples"])) == expected
    unnamed = [{key: value for key, value in row.items() if key != "reporter"} for row in content["samples"]]
    assert command.output("flows", flow_file(samples=unnamed)) == expected


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("method", {"method": "median"}),
        ("half_life_s", {"half_life_s": 0}),
        ("samples[0].request_bytes", {"samples": [flow_file()["samples"][0] | {"request_bytes": -1}]}),
        ("samples[0].time_s", {"samples": [flow_file()["samples"][0] | {"time_s": math.nan}]}),
        ("samples[0].reporter", {"samples": [flow_file()["samples"][0] | {"reporter": "proxy"}]}),
        ("samples[0].to", {"samples": [flow_file()["samples"][0] | {"to": ""}]}),
        ("samples", {"samples": {}}),
    ],
)
def test_a_wrong_flow_file_is_refused_with_its_path(command: Command, path: str, changes: dict[str, Any]) -> None:
    """Exit 2, one line: the file, the path, what was found, what is allowed."""
    assert command.refusal("flows", flow_file(**changes)).startswith(f"{path}: found ")


ODDITIES = (
    None,
    True,
    -1,
    0,
    1,
    1e-320,
    1e308,
    10**400,
    2**64,
    math.nan,
    math.inf,
    "",
    "cart",
    "\ud800",
    "a\nb",
    [],
    {},
    [[]],
)


def places(value: object) -> list[tuple[Any, Any]]:
    """Return (holder, key) of everything inside ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, inner in items:
        found.append((value, key))
        found += places(inner)
    return found


def mutate(content: dict[str, Any], random: Random) -> object:
    """Replace, remove or double one to three places at random."""
    result = copy.deepcopy(content)
    for _ in range(random.randint(1, 3)):
        spots = places(result)
        if not spots:
            break
        holder, key = random.choice(spots)
        action = random.choice(("replace", "replace", "remove", "double"))
        if action == "replace":
            holder[key] = random.choice(ODDITIES)
        elif action == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
    return result


@pytest.mark.parametrize(("what", "content"), [("links", link_file()), ("flows", flow_file())])
def test_no_mutation_of_a_file_brings_a_traceback(command: Command, what: str, content: dict[str, Any]) -> None:
    """300 random mutations each: exit 0 with strict JSON, or exit 2 with one line that names the file."""
    random = Random(SEED)
    codes = []
    for _ in range(300):
        code, out, err = command.run(what, mutate(content, random))
        codes.append(code)
        if code == 0:
            assert err == ""
            json.loads(out, parse_constant=pytest.fail)
        else:
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert err.startswith(f"{command.file}: ")
            assert "Traceback" not in err
    assert {0, 2} == set(codes)
