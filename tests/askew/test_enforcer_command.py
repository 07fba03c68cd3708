"""``askew enforcer`` on a recorded host tree: JSON out, one line for bad input, and no trace after a kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from askew.__main__ import main
from tests.fakes.fake_host import host_tree, v2_group
from tests.fakes.recorded_tree import read_tree, write_tree
from tests.mesh.test_actions import malformed_texts

CPU = {"container": "web", "resource": "cpu", "value": 0.5, "unit": "cores"}
MEMORY = {"container": "web", "resource": "memory", "value": 67108864, "unit": "bytes"}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host of two groups on cgroup v2, as plain files."""
    root = tmp_path / "host"
    root.mkdir()
    cgroup = {
        "cgroup.controllers": "cpuset cpu io memory pids",
        "cgroup.procs": "1",
        "web": v2_group(procs="31"),
        "batch": v2_group(procs="41"),
    }
    write_tree(root, host_tree(cgroup))
    return root


def actions_file(tmp_path: Path, *actions: object, generation: int = 7, ttl_s: float = 60) -> str:
    path = tmp_path / "actions.json"
    path.write_text(json.dumps({"generation": generation, "ttl_s": ttl_s, "actions": actions}))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = main(["enforcer", *arguments])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_apply_prints_what_it_wrote(host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer of the format page: generation, results, and each write with its before and after."""
    code, answer, _ = run(capsys, "apply", actions_file(tmp_path, CPU), "--host-root", str(host))
    path = str(host / "sys/fs/cgroup/web/cpu.max")

    assert code == 0
    assert answer == {
        "generation": 7,
        "results": [
            {
                "container": "web",
                "resource": "cpu",
                "result": "applied",
                "detail": "",
                "writes": [{"path": path, "before": "max 100000", "after": "50000 100000"}],
            }
        ],
    }
    assert Path(path).read_text() == "50000 100000\n"


def test_a_dry_run_prints_the_same_and_writes_nothing(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even a journal."""
    before = read_tree(host)
    file = actions_file(tmp_path, CPU, MEMORY)
    _, dry, _ = run(capsys, "apply", file, "--host-root", str(host), "--dry-run")
    untouched = read_tree(host) == before and not (host / "run").exists()
    _, real, _ = run(capsys, "apply", file, "--host-root", str(host))

    assert untouched
    assert dry == real | {"dry_run": True}


def test_status_shows_capabilities_and_leases(host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What this host can do or why not, and what holds for how long."""
    run(capsys, "apply", actions_file(tmp_path, CPU), "--host-root", str(host))
    code, answer, _ = run(capsys, "status", "--host-root", str(host))
    (lease,) = answer["actions"]

    assert code == 0
    assert answer["capabilities"]["cpu"] == "supported"
    assert answer["capabilities"]["cache"].startswith("resctrl is not mounted")
    assert (lease["container"], lease["resource"], lease["value"]) == ("web", "cpu", 0.5)
    assert 0 < lease["expires_in_s"] <= 60
    assert answer["conflicts"] == []


def test_revert_restores_every_original_and_prints_it(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tree is byte for byte what it was."""
    before = read_tree(host)
    run(capsys, "apply", actions_file(tmp_path, CPU, MEMORY), "--host-root", str(host))
    code, answer, _ = run(capsys, "revert", "--host-root", str(host))

    assert code == 0
    assert {write["path"].rpartition("/")[2] for write in answer["writes"]} == {"cpu.max", "memory.high"}
    assert read_tree(host) == before


def test_an_expired_lease_ends_at_the_next_use(host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One-shot use has nobody who waits for the end."""
    run(capsys, "apply", actions_file(tmp_path, CPU, ttl_s=1e-6), "--host-root", str(host))
    run(capsys, "apply", actions_file(tmp_path, MEMORY), "--host-root", str(host))

    assert (host / "sys/fs/cgroup/web/cpu.max").read_text() == "max 100000\n"


def test_containers_may_be_named_in_a_file(host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By cgroup or by pid; the file in /etc of the host is read by itself."""
    listed = tmp_path / "containers.json"
    listed.write_text('[{"name": "cart-0", "cgroup": "web", "class": "best-effort"}]')
    file = actions_file(tmp_path, CPU | {"container": "cart-0"})
    code, answer, _ = run(capsys, "apply", file, "--host-root", str(host), "--containers", str(listed))

    assert (code, answer["results"][0]["result"]) == (0, "applied")


@pytest.mark.parametrize(
    ("actions", "generation", "message"),
    [
        ([CPU | {"container": "nobody"}], 7, "actions[0].container: found 'nobody'"),
        ([CPU, MEMORY | {"unit": "cores"}], 7, "actions[1].unit: found 'cores', allowed: bytes"),
        ([CPU], 6, "generation: found 6, allowed: 7 or newer"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_and_no_write(
    host: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    actions: list[object],
    generation: int,
    message: str,
) -> None:
    """The file, the path inside it, what was found and what is allowed."""
    run(capsys, "apply", actions_file(tmp_path, generation=7), "--host-root", str(host))
    before = read_tree(host)
    file = actions_file(tmp_path, *actions, generation=generation)
    code, answer, error = run(capsys, "apply", file, "--host-root", str(host))

    assert (code, answer) == (2, None)
    assert error.startswith(f"{file}: ")
    assert message in error
    assert error.count("\n") == 1
    assert read_tree(host) == before


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_malformed_files_never_reach_the_kernel(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    """Whatever the mistake: exit 2 with one line and no write, or a whole action set with typed results."""
    before = read_tree(host)
    file = tmp_path / "actions.json"
    strange = []
    for text in malformed_texts(count, seed=count + 1):
        file.write_text(text, encoding="utf-8")
        code, answer, error = run(capsys, "apply", str(file), "--host-root", str(host), "--dry-run")
        one_line = error.count("\n") == 1 and "Traceback" not in error
        if not (code == 2 and answer is None and one_line) and not (code == 0 and "results" in answer):
            strange.append((text, code, error))

    assert strange == []
    assert read_tree(host) == before


def test_a_second_writer_is_told_who_the_first_is(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One writer a host: the lock's holder is named, exit 1."""
    from enforcer.writer_lock import only_writer

    with only_writer(str(host / "run/askew"), "writer"):
        code, _, error = run(capsys, "apply", actions_file(tmp_path, CPU), "--host-root", str(host))

    assert code == 1
    assert f"process {os.getpid()} is writing" in error


def test_a_broken_journal_stops_before_any_write(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it does not understand it does not touch."""
    run(capsys, "apply", actions_file(tmp_path, CPU), "--host-root", str(host))
    before = read_tree(host)
    journal = host / "run/askew/writer.journal"
    journal.write_bytes(b"deadbeef {}\n" + journal.read_bytes())
    code, _, error = run(capsys, "revert", "--host-root", str(host))

    assert (code, error.count("\n")) == (1, 1)
    assert "journal: line 1" in error
    assert read_tree(host) == before


KILL_AT = """
import os, signal, sys
from askew.__main__ import main
left = [int(sys.argv[1])]
def dying(function):
    def call(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
for name in ('write', 'fsync', 'fdatasync', 'rename', 'ftruncate'):
    setattr(os, name, dying(getattr(os, name)))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("step", range(20))
def test_the_real_process_may_be_killed_at_any_system_call(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], step: int
) -> None:
    """kill -9 before the n-th write, fsync, rename or truncation: the next revert finds the host as it was."""
    before = read_tree(host)
    batch = [each | {"container": "batch"} for each in (CPU, MEMORY)]
    file = actions_file(tmp_path, CPU, MEMORY, *batch)
    command = [sys.executable, "-c", KILL_AT, str(step), "enforcer", "apply", file, "--host-root", str(host)]
    killed = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2], check=False)
    code, answer, _ = run(capsys, "revert", "--host-root", str(host))

    assert killed.returncode in (0, -signal.SIGKILL)
    assert (code, answer["failed"], answer["conflicts"]) == (0, [], [])
    assert read_tree(host) == before
