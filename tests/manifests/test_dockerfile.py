"""The Dockerfile, as far as it can be read: what goes into the image, from where, and as whom it runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

HERE = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((HERE / "pyproject.toml").read_text())
LOCKED, LOCKED_FOR_TESTS = (
    dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", (HERE / name).read_text(), re.MULTILINE))
    for name in ("requirements-image.lock", "requirements.lock")
)


def instructions() -> list[tuple[str, str]]:
    """Return the instructions in their order, comments left out."""
    text = re.sub(r"\\\n\s*", "", (HERE / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def said(name: str) -> list[str]:
    """Return the arguments of all instructions of a name."""
    return [rest for instruction, rest in instructions() if instruction == name]


def copied() -> set[str]:
    """Return what is copied from the build's context."""
    return {one for rest in said("COPY") if not rest.startswith("--from") for one in rest.split()[:-1]}


def test_the_base_is_named_once_with_a_whole_version() -> None:
    """So that a digest is given in one place; never ``latest``, never a version that moves."""
    (base,) = said("ARG")

    assert instructions()[0] == ("ARG", base)
    assert re.fullmatch(r"BASE=python:\d+\.\d+\.\d+-[a-z-]+(@sha256:[0-9a-f]{64})?", base)
    assert [one.split()[0] for one in said("FROM")] == ["${BASE}", "${BASE}"]
    assert base.removeprefix("BASE=python:").startswith(PROJECT["project"]["requires-python"].removeprefix(">="))


def test_all_rooms_are_in_it_and_nothing_else() -> None:
    """Every command works; tests, benchmarks and what lies about stay outside."""
    rooms = {one.partition(".")[0] for one in PROJECT["tool"]["setuptools"]["packages"]}

    assert copied() == rooms | {"requirements-image.lock", "pyproject.toml", "README.md", "LICENSE"}


def test_the_context_holds_what_is_copied() -> None:
    """Everything else is left out first, so that nothing new slips in."""
    lines = [line for line in (HERE / ".dockerignore").read_text().splitlines() if not line.startswith("#")]

    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied()


def test_what_is_installed_is_locked() -> None:
    """Versions and hashes of everything, no cache left behind; our own package resolves nothing and fetches nothing."""
    locked, own = [rest for rest in said("RUN") if "pip install" in rest]

    assert {"--require-hashes", "--no-cache-dir", "requirements-image.lock"} <= set(locked.split())
    assert {"--no-deps", "--no-build-isolation", "--no-cache-dir"} <= set(own.split())


def test_the_lock_has_what_it_takes_and_no_learning_library() -> None:
    """All that the package needs, and what builds it (nothing is fetched for that); torch is an extra of its own."""
    needed = [Requirement(one) for one in PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]]
    names = {re.sub(r"[-_.]+", "-", name.lower()): version for name, version in LOCKED.items()}
    missing = [
        one for one in needed if not one.specifier.contains(names.get(re.sub(r"[-_.]+", "-", one.name.lower()), "0"))
    ]

    assert missing == []
    assert "torch" not in names


def test_the_image_has_what_is_tested_and_not_what_tests() -> None:
    """The same versions as in the tests' environment; no Envoy, no type checker, none of the lab's own packages."""
    for_lab_and_tests = (
        PROJECT["project"]["optional-dependencies"]["lab"] + PROJECT["project"]["optional-dependencies"]["dev"]
    )

    assert LOCKED.items() <= LOCKED_FOR_TESTS.items()
    assert LOCKED.keys().isdisjoint({Requirement(one).name for one in for_lab_and_tests} - {"setuptools"})


def test_it_runs_as_the_user_of_the_manifests() -> None:
    """By number, so that ``runAsNonRoot`` can be checked; after everything that needs root."""
    (user,) = said("USER")
    uid = int(user.partition(":")[0])
    (created,) = [rest for rest in said("RUN") if rest.startswith("useradd")]
    deployment = next(
        one
        for one in yaml.safe_load_all((HERE / "manifests" / "base" / "deployment.yaml").read_text())
        if one["kind"] == "Deployment"
    )

    assert uid == deployment["spec"]["template"]["spec"]["securityContext"]["runAsUser"] > 0
    assert f"--uid {uid}" in created
    assert "RUN" not in [name for name, _ in instructions()[instructions().index(("USER", user)) :]]
    assert said("ENTRYPOINT") == ['["askew"]']
