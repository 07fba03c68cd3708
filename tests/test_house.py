"""The house rules that a machine can check: rooms, names, sizes, docstrings, the lock, nothing from outside."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("allocators", "askew", "enforcer", "estimators", "istio", "lab", "mesh", "xds_server")
SKIPPED_FOLDERS = {"__pycache__", "build", "dist", "node_modules"}
HIDDEN_BUT_OURS = {".ci", ".gitignore"}
LONGEST_FILE, LONGEST_FUNCTION, DEEPEST = 400, 60, 3
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc", "manager", "base", "v2"}


def files(suffix: str = "") -> list[Path]:
    """Return the files of the project, without what tools and set-up make."""

    def walk(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            hidden = path.name.startswith(".") and path.name not in HIDDEN_BUT_OURS
            if hidden or path.name in SKIPPED_FOLDERS or path.name.endswith(".egg-info"):
                continue
            if path.is_dir():
                yield from walk(path)
            elif path.name.endswith(suffix):
                yield path

    return list(walk(ROOT))


def python_files(*folders: str) -> list[Path]:
    """Return the Python files under these folders (all where none is named) that a person wrote."""
    found = [path for path in files(".py") if not re.search(r"_pb2(_grpc)?\.py$", path.name)]
    return [path for path in found if not folders or path.relative_to(ROOT).parts[0] in folders]


def name(path: Path) -> str:
    """Return a path as messages show it."""
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    """Return a file, parsed; once, for all rules."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def functions(path: Path) -> tuple[ast.FunctionDef | ast.AsyncFunctionDef, ...]:
    """Return every function of a file, nested ones too."""
    return tuple(node for node in ast.walk(tree(path)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_every_package_is_listed_by_name() -> None:
    """``pyproject.toml`` lists exactly the packages of the tree, sorted: nothing is found by accident."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    inits = [path.parent.relative_to(ROOT) for path in python_files(*ROOMS) if path.name == "__init__.py"]

    assert listed == sorted(".".join(path.parts) for path in inits)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_states_duty_ban_and_where_to_start(room: str) -> None:
    """A room's docstring is its contract, and what it says to read first exists or is said to be planned."""
    docstring = ast.get_docstring(tree(ROOT / room / "__init__.py")) or ""

    assert [word for word in ("Duty:", "Ban:", "Start reading") if word not in docstring] == []


def test_every_module_says_what_it_is() -> None:
    """Every Python file of the rooms, tests and benchmarks opens with a docstring."""
    silent = [name(p) for p in python_files() if not ast.get_docstring(tree(p))]

    assert silent == []


def test_no_drawers() -> None:
    """A module that is named for nothing collects everything."""
    drawers = [name(p) for p in python_files() if DRAWERS & {p.stem.strip("_"), p.parent.name}]

    assert drawers == []


def test_files_have_one_idea() -> None:
    """No file is longer than 400 lines."""
    long = {name(p): n for p in python_files() if (n := len(p.read_text().splitlines())) > LONGEST_FILE}

    assert long == {}


def test_functions_fit_on_a_screen() -> None:
    """No function is longer than 60 lines, its docstring left out."""
    long: dict[str, int] = {}
    for path in python_files():
        for function in functions(path):
            first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
            lines = (function.end_lineno or 0) - first.lineno + 1
            if lines > LONGEST_FUNCTION:
                long[f"{name(path)}:{function.name}"] = lines

    assert long == {}


def depth(node: ast.AST) -> int:
    """Return how deep blocks stand inside each other below ``node``; ``elif`` counts as its ``if``."""
    blocks = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, depth(child) + (isinstance(child, blocks) and not is_elif))
    return deepest


def test_blocks_nest_three_deep_at_most() -> None:
    """Deeper than three, the reader has lost the conditions; split the function."""
    deep = [f"{name(p)}:{f.name}" for p in python_files(*ROOMS) for f in functions(p) if depth(f) > DEEPEST]

    assert deep == []


def test_public_functions_say_what_they_do() -> None:
    """Every public function and class at the top of a room's module has a docstring."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    silent = [
        f"{name(path)}:{node.name}"
        for path in python_files(*ROOMS)
        for node in tree(path).body
        if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]

    # A program's entry and the two functions of a command are the same everywhere (``askew/cli/__init__.py``).
    assert [entry for entry in silent if entry.split(":")[1] not in ("add_arguments", "run", "main")] == []


def test_every_test_states_its_rule() -> None:
    """Each test has a docstring with the rule that it proves."""
    silent = [
        f"{name(path)}:{function.name}"
        for path in python_files("tests")
        for function in functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]

    assert silent == []


def outside() -> dict[str, re.Pattern[str]]:
    """Return what no file may refer to; put together here so that this file does not hold it either."""
    slash = "/"
    return {
        "a folder of somebody's machine": re.compile(rf"(?<![\w.}}]){slash}(work|root|home|Users){slash}[\w.]"),
        "a neighbour of the repository": re.compile(r"\.\." + rf"{slash}shared|{slash}work{slash}shared"),
        "somebody's temporary folder": re.compile(rf"{slash}tmp{slash}(wt|helpers|bash_jobs)"),
        "a package registry": re.compile(
            r"py" + r"pi\.org|python" + r"hosted\.org|npm" + r"js\.(org|com)|crates" + r"\.io"
        ),
        "a package index": re.compile("--(extra-)?index" + "-url|--find" + "-links"),
    }


@pytest.mark.parametrize("what", outside())
def test_nothing_refers_to(what: str) -> None:
    """A clone is complete: no file names a place that is only on one machine, nor a registry."""
    pattern, found = outside()[what], []
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or a recording
        found += [
            f"{name(path)}:{i}: {line.strip()[:80]}"
            for i, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]

    assert found == []


@pytest.mark.parametrize(
    ("lock", "at_least"),
    [
        ("requirements.lock", 21),
        ("requirements-image.lock", 21),
        *((f"requirements-envoy-1.{minor}.lock", 1) for minor in (36, 37, 38, 39)),
    ],
)
def test_the_lock_has_versions_and_hashes(lock: str, at_least: int) -> None:
    """Every requirement is pinned to one version with at least one SHA-256, and none to an address."""
    text = (ROOT / lock).read_text()
    entries = re.split(r"\n(?=\S)", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    loose = [entry.split("\n")[0] for entry in entries if entry.strip() and not PINNED.fullmatch(entry.strip())]

    assert loose == []
    assert len(entries) >= at_least
    assert "://" not in text


PINNED = re.compile(r"[a-z0-9][-a-z0-9_.]*==[\w.+!]+( ; [^\n]+?)?( \\\n\s+--hash=sha256:[0-9a-f]{64})+", re.IGNORECASE)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_help_prints_the_targets() -> None:
    """``make`` alone prints every target, those that a newcomer needs among them."""
    printed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^  make ([a-z-]+) +\S", printed, re.MULTILINE)

    wanted = {"setup", "demo", "test", "test-all", "check", "bench", "golden"}
    assert wanted - set(targets) == set()
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(targets)


def test_ci_runs_every_test_once() -> None:
    """``.ci/run`` is clean bash and runs the checks, the fast tests, only the other tests, and the demo."""
    script = (ROOT / ".ci" / "run").read_text()

    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)
    assert [
        step for step in ("make check", "make test\n", "make test-slow", "lab demo --seconds 5") if step not in script
    ] == []
    assert "make test-all" not in script
    makefile = (ROOT / "Makefile").read_text()
    assert '-m "not slow and not root"' in makefile
    assert '-m "slow or root"' in makefile
