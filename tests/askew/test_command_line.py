"""The frame of the command line: finding a command, its global flags, and one line for every mistake."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

import askew.__main__ as frame
from askew.cli.addresses import host_and_port
from askew.errors import CommandError
from mesh.errors import BadInputError


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Give the root logger back as it was: ``main`` sets it up for its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def greet(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A command ``greet NAME`` that prints its options as JSON; tests may replace its ``run``."""
    module = ModuleType("greet_command")

    def run(args: argparse.Namespace) -> int:
        print(json.dumps({"name": args.name, "log_level": args.log_level, "log_format": args.log_format}))
        return 0

    module.add_arguments = lambda parser: parser.add_argument("name")  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "greet_command", module)
    monkeypatch.setitem(frame.BUILT_IN, "greet", "greet_command")
    return module


def exit_code(arguments: list[str]) -> object:
    """Return the code with which the program ends, whether it returns or exits."""
    try:
        return frame.main(arguments)
    except SystemExit as ending:
        return ending.code


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["greet", "you"], ("info", "text")),
        (["--log-level", "debug", "greet", "you"], ("debug", "text")),
        (["greet", "you", "--log-level", "debug"], ("debug", "text")),
        (["--log-format", "json", "greet", "--log-level", "error", "you"], ("error", "json")),
    ],
)
@pytest.mark.usefixtures("greet")
def test_global_flags_stand_before_or_after_the_command(
    arguments: list[str], expected: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """``--log-level`` and ``--log-format`` mean the same on either side; a default overrides nothing given."""
    assert exit_code(arguments) == 0

    options = json.loads(capsys.readouterr().out)
    assert (options["log_level"], options["log_format"]) == expected


@pytest.mark.parametrize("arguments", [["--version"], ["greet", "--version"]])
@pytest.mark.usefixtures("greet")
def test_version_on_all(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` prints one line and succeeds, with and without a command."""
    assert exit_code(arguments) == 0
    assert capsys.readouterr().out.startswith("askew ")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["serv"], "serv"),
        ([], "COMMAND"),
        (["--log-level", "loud", "greet", "you"], "loud"),
        (["greet"], "name"),
        (["greet", "you", "--no-such-flag"], "--no-such-flag"),
        (["greet", "you", "and\nyou\x1b[2J"], "and"),
        (["\ud800"], "\\ud800"),
    ],
)
@pytest.mark.usefixtures("greet")
def test_a_mistake_on_the_command_line_is_one_line_and_exit_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown command, a missing argument, a wrong value: one line on stderr that names it."""
    assert exit_code(arguments) == 2

    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.strip().isprintable()) == ("", 1, True)
    assert named in err


def test_a_command_of_an_extra_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the packages of ``lab``, ``askew lab`` names what is missing and the command that installs it."""
    monkeypatch.setattr(frame, "_table", lambda: {"lab": "no_such_package.command"})

    assert exit_code(["lab", "demo"]) == 2
    assert capsys.readouterr().err == (
        "askew lab: needs no_such_package, which is not installed; install it with: pip install 'askew[lab]'\n"
    )


def test_so_does_one_whose_arguments_need_it(
    greet: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``lab`` imports its own commands for their arguments: a package that only they need is told of as well."""

    def add_arguments(_: argparse.ArgumentParser) -> None:
        importlib.import_module("no_such_package")

    monkeypatch.setattr(greet, "add_arguments", add_arguments)
    monkeypatch.setattr(frame, "_table", lambda: {"lab": greet.__name__})

    assert exit_code(["lab", "demo"]) == 2
    assert capsys.readouterr().err.startswith("askew lab: needs no_such_package, which is not installed; ")


def test_other_commands_work_without_the_extra(
    greet: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the wanted command is imported, so a broken one harms nobody else, nor the list of commands."""
    monkeypatch.setattr(frame, "_table", lambda: {"lab": "no_such_package.command", "greet": greet.__name__})

    assert exit_code(["greet", "you"]) == 0
    assert exit_code(["--help"]) == 0
    assert "lab" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (CommandError("mesh.yaml: nodes: found 7, allowed: a list"), 2, "mesh.yaml: nodes: found 7, allowed: a list\n"),
        (CommandError("port 18000 is in use", exit_code=1), 1, "port 18000 is in use\n"),
        (CommandError("two\nlines \x1b[2J"), 2, "two lines \\x1b[2J\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_how_a_command_ends(
    raised: BaseException, code: int, line: str, greet: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """A CommandError is its one line and its exit code; Ctrl-C is 130 without a word."""

    def run(args: argparse.Namespace) -> int:
        raise raised

    greet.run = run  # type: ignore[attr-defined]

    assert exit_code(["greet", "you"]) == code
    assert capsys.readouterr().err == line


def test_a_fault_of_ours_is_not_dressed_up_as_bad_input(greet: ModuleType) -> None:
    """Anything but a CommandError is a bug and keeps its traceback; edges map BadInputError with the file's name."""

    def run(args: argparse.Namespace) -> int:
        raise BadInputError("nodes", 7, "a list")

    greet.run = run  # type: ignore[attr-defined]

    with pytest.raises(BadInputError):
        frame.main(["greet", "you"])


def test_every_built_in_command_has_a_summary() -> None:
    """``askew --help`` says one line on each command."""
    assert set(frame.BUILT_IN) <= set(frame.SUMMARIES)


@pytest.mark.parametrize("text", ["[::1:18000", "::1]:18000", "[::1]", "a[b]:1", ":1", "h:65536", "h:x"])
def test_a_half_written_address_is_refused(text: str) -> None:
    """Brackets belong together, around an IPv6 address; there is a host and a port."""
    with pytest.raises(argparse.ArgumentTypeError, match="HOST:PORT"):
        host_and_port(text)
    assert host_and_port("[::1]:18000") == ("::1", 18000)
    assert host_and_port("localhost:0") == ("localhost", 0)


@pytest.mark.parametrize(
    "words",
    [
        ("istio", "render", "--mesh", "nowhere.yaml"),
        ("enforcer", "status", "--host-root", "/nowhere"),
        ("lab", "demo", "--json", "/nowhere/a.json"),
        ("lab", "bench", "locality", "--json", "/nowhere/a.json"),
    ],
)
def test_what_all_commands_take_may_stand_at_the_very_end(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind a command of a command, too: it is the input that is refused, not the flag."""
    assert frame.main([*words, "--log-level", "debug", "--log-format", "json"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert logging.getLogger().level == logging.DEBUG

    with pytest.raises(SystemExit) as ended:
        frame.main([*words, "--version"])
    assert ended.value.code == 0
