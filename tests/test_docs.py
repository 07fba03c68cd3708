"""Documentation that is run: doctests, links, examples, and tables that say what the code says."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
import shlex
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client import CollectorRegistry

import askew.__main__ as frame
from askew.settings import ServeSettings
from mesh.mesh_file import parse_mesh_file
from mesh.policy import PREFIX, Policy
from xds_server.istio_metrics import IstioNames
from xds_server.metrics import XdsMetrics

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PURE_ROOMS = ("mesh", "estimators", "allocators")


def text(page: str) -> str:
    """Return the text of a page, given from the root."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the tables under a heading of the second level, without their first rows."""
    section = re.split(r"^## ", text(page), flags=re.MULTILINE)
    body = next(part for part in section if part.startswith(heading + "\n"))
    lines = [line for line in body.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [cells for cells in table[2:] if set(cells[0]) != {"-"}]


def code(cell: str) -> list[str]:
    """Return what stands in backquotes in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def sources(*rooms: str) -> str:
    """Return the text of all Python files of these rooms."""
    return "\n".join(path.read_text(encoding="utf-8") for room in rooms for path in sorted((ROOT / room).rglob("*.py")))


def pure_modules() -> list[str]:
    """Return the names of all modules of the pure rooms."""
    names: list[str] = []
    for room in PURE_ROOMS:
        package = importlib.import_module(room)
        names += [room, *(info.name for info in pkgutil.walk_packages(package.__path__, room + "."))]
    return names


def imported(module: str) -> ModuleType:
    """Return a module of ours; skip where it needs an extra that is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] in PURE_ROOMS:
            raise
        pytest.skip(f"{module} needs {error.name}, which is not installed")


@pytest.mark.parametrize("module", pure_modules())
def test_examples_in_docstrings_run(module: str) -> None:
    """Every example of the pure rooms does what it shows."""
    failed, _ = doctest.testmod(imported(module), verbose=False)

    assert failed == 0


def test_there_are_examples_to_run() -> None:
    """The mesh room alone shows more than five examples, so that the test above has something to find."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(name) for name in pure_modules() if name.startswith("mesh")]

    assert sum(len(found.examples) for module in modules for found in finder.find(module)) > 5


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as hosts of Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of the repository finds the file, and the heading if it names one."""
    broken = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.is_relative_to(ROOT) or not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(f"{target}#{anchor}")

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_pages_name_exist(page: Path) -> None:
    """A file of a room in backquotes is there, or its line says that it is planned."""
    missing = [
        path
        for line in page.read_text(encoding="utf-8").splitlines()
        if "planned" not in line
        for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.[a-z]+)`", line)
        if not (ROOT / path).exists()
    ]

    assert missing == []


def examples() -> list[str]:
    """Return the lines of all pages' console blocks that call ``askew``."""
    return sorted(
        line
        for page in PAGES
        for block in blocks(str(page.relative_to(ROOT)), "console")
        for line in block.splitlines()
        if line.startswith("askew ")
    )


@pytest.mark.parametrize("line", examples())
def test_command_examples_name_flags_that_exist(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command of an example has a help text, which knows every flag of the example."""
    words = shlex.split(line.split(" > ")[0])[1:]
    command = words[: next((i for i, word in enumerate(words) if not re.fullmatch(r"[a-z][-a-z]*", word)), len(words))]

    with pytest.raises(SystemExit) as ending:
        frame.main([*command, "--help"])

    help_text = capsys.readouterr().out
    assert ending.value.code == 0
    assert [word for word in words if word.startswith("--") and word not in help_text] == []


def test_readme_has_its_parts_in_order() -> None:
    """One sentence, a picture, what it is not, quick start, rooms, settings, how to test, glossary."""
    readme = text("README.md")
    sentence, picture = readme.split("\n\n")[1:3]

    assert sentence.count(". ") == 0
    assert picture.startswith("```")
    assert re.findall(r"^## (.+)$", readme, re.MULTILINE) == [
        "What it is not", "Quick start", "Rooms", "Settings", "How to test", "Glossary",
    ]  # fmt: skip


def test_the_table_of_commands_says_which_exist() -> None:
    """``docs/interfaces.md`` calls a command built exactly if the program has it."""
    said = {
        command.split()[1]: state == "built"
        for cells in rows("docs/interfaces.md", "Commands")
        for state in [cells[1]]
        for command in code(cells[0])
    }
    exist = set(frame._table())

    assert {command for command, built in said.items() if built} == exist


KERNELS_MEMORY = ("high", "max", "limit_in_bytes")  # memory.high is a file of a control group


def as_written(value: object) -> str:
    """Return a setting's default as a file would have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_table_of_settings_is_whole() -> None:
    """Every setting of ``askew serve`` stands in the table, with its default, and nothing else does."""
    said = {code(cells[0])[0]: "".join(code(cells[1])) for cells in rows("docs/interfaces.md", "Settings")}
    settings = ServeSettings()
    exist = {
        f"{section.name}.{key.name}": as_written(getattr(getattr(settings, section.name), key.name))
        for section in fields(settings)
        for key in fields(getattr(settings, section.name))
    }

    assert said == exist


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_pages_name_exist(page: Path) -> None:
    """``section.key`` in backquotes is a setting of ``askew serve``, a file of Python or one of the kernel's."""
    keys = {
        section.name: {key.name for key in fields(getattr(ServeSettings(), section.name))}
        for section in fields(ServeSettings)
    }
    others = {"py", *KERNELS_MEMORY}
    named = re.findall(r"`([a-z_]+)\.([a-z_]+)(?::[^`]*)?`", page.read_text(encoding="utf-8"))

    assert [f"{section}.{key}" for section, key in named if section in keys and key not in keys[section] | others] == []


def test_the_table_of_metrics_says_which_exist() -> None:
    """Every metric in the code stands in the table as built, and what is called built is in the code."""
    built = {
        metric.removesuffix("_total")
        for cells in rows("docs/interfaces.md", "Metrics")
        if len(cells) == 4 and cells[2] == "built"
        for metric in code(cells[0])
    }
    calls = r'(?:Counter|Gauge|Histogram|Summary)(?:MetricFamily)?\(\s*"(askew_[a-z_]+)"'

    assert built == set(re.findall(calls, sources("xds_server", "istio", "enforcer", "askew")))


def test_istios_names_are_those_that_are_fed() -> None:
    """The table of Istio's names says of which metric of ours each is another name, as the code has it."""
    registry = CollectorRegistry()
    XdsMetrics(registry)
    (names,) = [one for one in registry._collector_to_names if isinstance(one, IstioNames)]
    said = {
        code(cells[0])[0]: code(cells[1])[0].removesuffix("_total")
        for cells in rows("docs/interfaces.md", "Metrics")
        if code(cells[0]) and code(cells[0])[0].startswith("pilot_")
    }

    assert said == {name: next(iter(ours.collect())).name for name, ours in names._names.items()}


def test_the_table_of_pages_says_which_exist() -> None:
    """Every path that an HTTP route of the control plane answers stands in the table as built, and the reverse."""
    built = {
        path.split("?")[0]
        for cells in rows("docs/interfaces.md", "HTTP on 18080")
        if cells[1] == "built"
        for path in code(cells[0])
    }
    routes = re.findall(r'web\.(?:get|post)\("(/[^"]*)"', sources("xds_server", "istio", "askew"))

    assert built == set(routes)


def test_the_mesh_file_page_shows_a_mesh_that_is_accepted() -> None:
    """The example is a mesh file."""
    (example,) = blocks("docs/mesh-file.md", "yaml")

    assert len(parse_mesh_file(example).services) == 3


def test_the_mesh_file_page_shows_refusals_as_they_are() -> None:
    """Each refusal shown there is one that the golden file has, word for word."""
    (shown,) = blocks("docs/mesh-file.md", "text")
    golden = {line.strip() for line in text("tests/golden/mesh_file_refusals.txt").splitlines()}

    assert [line for line in shown.splitlines() if line not in golden] == []


def test_the_mesh_file_page_has_every_annotation() -> None:
    """Every annotation stands in the table; every field of a policy has one."""
    said = {key for cells in rows("docs/mesh-file.md", "Annotations") for key in code(cells[0])}
    names = {
        "cross_node_cost_ms": "cross-node-cost",
        "max_overload": "max-overload",
        "latency_metrics": "latency-metrics",
    }

    assert said == {PREFIX + names.get(field.name, field.name) for field in fields(Policy)}


def test_the_mesh_file_page_has_every_key() -> None:
    """Every key that the reader allows is written in backquotes somewhere on the page."""
    tree = ast.parse(text("mesh/mesh_file.py"))
    allowed = {
        key.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Tuple) and len(node.elts) > 1
        for key in node.elts
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }
    page = text("docs/mesh-file.md")

    assert len(allowed) > 20
    assert (
        sorted(key for key in allowed if f"`{key}`" not in page and f"{{{key}, " not in page and f", {key}" not in page)
        == []
    )


def test_decisions_are_listed_and_numbered() -> None:
    """Each decision has a line in the list, its own number, and the four headings."""
    files = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    listed = re.findall(r"\]\(([0-9]{4}-[^)]+)\)", text("docs/decisions/README.md"))

    assert sorted(listed) == files
    assert len({name[:4] for name in files}) == len(files)
    for name in files:
        page = text(f"docs/decisions/{name}")
        assert [part for part in ("Decided", "Why", "Costs", "Else thought of") if f"**{part}.**" not in page] == [], (
            name
        )


def test_the_changelog_has_an_unreleased_section() -> None:
    """What is not released yet has its place at the top."""
    assert re.search(r"^## \[Unreleased\]$", text("CHANGELOG.md"), re.MULTILINE)
