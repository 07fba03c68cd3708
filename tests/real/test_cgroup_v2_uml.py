"""The real cgroup v2: a User-Mode Linux whose first process is the real writer. Nothing of it touches this machine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real.kernel_guest import MARK

pytestmark = [pytest.mark.slow, pytest.mark.root]
ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).parent / "uml_fp_shim.c"
BOOT_S = 100


def command(tmp_path: Path) -> list[str]:
    """Return the kernel's command line: the host's root read-only, one disk, our init."""
    init = tmp_path / "init.py"
    lines = [f"#!{sys.executable} -B", "import sys", f"sys.path[:0] = [{str(ROOT)!r}]"]
    lines += ["from tests.real.kernel_guest import main, measure_limits", "main(measure_limits)", ""]
    init.write_text("\n".join(lines))
    init.chmod(0o755)
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(4 << 20))
    root = ["rootfstype=hostfs", "rootflags=/", "ro", "quiet"]
    consoles = ["con=null", "con0=null,fd:1", "ssl=null"]
    return ["linux.uml", "mem=256M", f"uml_dir={tmp_path}/", *root, f"ubd0={disk}", f"init={init}", *consoles]


def environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment; on CPUs with AMX with the shim that this kernel's small register buffer needs."""
    found = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    if "amx_tile" not in Path("/proc/cpuinfo").read_text():
        return found
    if shutil.which("gcc") is None:
        pytest.skip("this CPU has AMX, and there is no gcc for the shim that User-Mode Linux needs there")
    shim = tmp_path / "shim.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(shim), str(SHIM), "-ldl"], check=True, timeout=60)
    return {**found, "LD_PRELOAD": str(shim)}


def told_by_guest(tmp_path: Path) -> dict[str, Any]:
    """Boot, and return what the guest tells."""
    if shutil.which("linux.uml") is None:
        pytest.skip("no linux.uml (Debian package user-mode-linux)")
    with (tmp_path / "console").open("wb") as console:
        guest = subprocess.Popen(
            command(tmp_path),
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            guest.wait(timeout=BOOT_S)
        finally:
            guest.kill()
            guest.wait()
    text = (tmp_path / "console").read_text(errors="replace")
    told = [line.partition(MARK)[2] for line in text.splitlines() if MARK in line]
    if not told and "panic" in text.lower():
        pytest.skip("User-Mode Linux does not run on this machine: " + text.strip().splitlines()[-1][:200])
    assert told, text[-2000:]
    return dict(json.loads(told[0]))


def test_limits_hold_on_the_real_cgroup_v2_and_are_given_back(tmp_path: Path) -> None:
    """20 % of a CPU is 0.2 cores, memory.high is run against, 1 MiB/s makes 2 MiB take 2 s; then all is as it was."""
    told = told_by_guest(tmp_path)

    assert told.get("error") is None, told["error"]
    assert told["results"] == {
        "cpu": "applied", "memory": "applied", "disk_write": "applied", "cpuset": "unsupported",
    }  # fmt: skip
    assert told["limited"]["cpu.max"].split()[0] == "20000"
    assert 0.15 < told["seen"]["cores"] < 0.25
    assert told["seen"]["high_events"] > 0
    assert 1.5 < told["seen"]["write_s"] < 6.0
    assert told["restored"] is True
