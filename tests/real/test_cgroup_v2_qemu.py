"""cpuset and PSI of the real cgroup v2, which a User-Mode Linux has not: on an emulated machine of two CPUs.

The kernel is Debian's, its root a memory image with this Python and the files that the guest needs; nothing of it
touches this machine. It is emulated whole, so that it runs where there is no KVM.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.real.kernel_guest import MARK

ROOT = Path(__file__).resolve().parents[2]
EMULATOR = "qemu-system-x86_64"
BOOT_S = 240
NEEDED = (
    "import sys, tests.real.qemu_guest\n"
    "print(*(one.__file__ for one in sys.modules.values() if getattr(one, '__file__', None)), sep='\\n')"
)


def kernel() -> str:
    """Return the newest kernel of this machine's packages that can be read; empty for none."""
    found = sorted(Path("/boot").glob("vmlinuz-*"), key=lambda one: one.stat().st_mtime)
    return next((str(one) for one in reversed(found) if os.access(one, os.R_OK)), "")


def missing() -> str:
    """Return what this machine lacks for the test, or an empty string."""
    if which(EMULATOR) is None:
        return f"no {EMULATOR} (Debian package qemu-system-x86)"
    return "" if kernel() else "no kernel in /boot (Debian package linux-image-amd64)"


pytestmark = [pytest.mark.slow, pytest.mark.timeout(BOOT_S + 60), pytest.mark.skipif(bool(missing()), reason=missing())]


def needed_files() -> list[Path]:
    """Return this Python, the modules that the guest imports, and the libraries that both are linked with."""
    modules = subprocess.run(
        [sys.executable, "-B", "-c", NEEDED], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    ).stdout.splitlines()
    stdlib = Path(sysconfig.get_path("stdlib"))
    python = Path(sys.executable).resolve()
    files = {python, *map(Path, modules), *stdlib.joinpath("encodings").glob("*.py")}
    linked = [str(one) for one in files if one == python or one.suffix == ".so"]
    libraries = subprocess.run(["ldd", *linked], check=True, capture_output=True, text=True, timeout=60).stdout
    files |= {Path(word) for word in libraries.split() if word.startswith("/") and not word.endswith(":")}
    return sorted(files)


def image(files: Iterable[Path], init: str) -> bytes:
    """Return a memory image (cpio, "newc") of these files at their places, and of an init."""
    directories = {parent for one in files for parent in one.parents if parent != Path("/")}
    mounted = {Path(f"/{name}") for name in ("proc", "sys", "dev", "mnt")}
    parts = [_entry(one, stat.S_IFDIR | 0o755, b"") for one in sorted(directories | mounted)]
    parts += [_entry(one, stat.S_IFREG | 0o755, one.read_bytes()) for one in files]
    parts += [_entry(Path("/init"), stat.S_IFREG | 0o755, init.encode()), _entry(Path("/TRAILER!!!"), 0, b"")]
    return gzip.compress(b"".join(parts), compresslevel=1)


def _entry(path: Path, mode: int, data: bytes) -> bytes:
    name = str(path).removeprefix("/").encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def told_by_guest(tmp_path: Path) -> dict[str, Any]:
    """Boot, and return what the guest tells."""
    files = needed_files()
    lines = [f"#!{Path(sys.executable).resolve()} -B", "import sys", f"sys.path[:0] = {_import_places(files)!r}"]
    lines += ["from tests.real.kernel_guest import main", "from tests.real.qemu_guest import measure_cpus"]
    (tmp_path / "image").write_bytes(image(files, "\n".join([*lines, "main(measure_cpus)", ""])))
    machine = [EMULATOR, "-accel", "tcg", "-cpu", "max", "-m", "512", "-smp", "2", "-nographic", "-no-reboot"]
    machine += ["-net", "none", "-kernel", kernel(), "-initrd", str(tmp_path / "image")]
    machine += ["-append", "console=ttyS0 quiet panic=-1 psi=1"]
    with (tmp_path / "console").open("wb") as console:
        guest = subprocess.Popen(machine, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT)
        try:
            guest.wait(timeout=BOOT_S)
        finally:
            guest.kill()
            guest.wait()
    text = (tmp_path / "console").read_text(errors="replace")
    told = [line.partition(MARK)[2] for line in text.splitlines() if MARK in line]
    assert told, text[-3000:]
    return dict(json.loads(told[0]))


def _import_places(files: Iterable[Path]) -> list[str]:
    """Return where the guest finds our rooms and the packages of this environment."""
    packages = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    return [str(ROOT), *sorted(str(one) for one in packages if any(file.is_relative_to(one) for file in files))]


def test_cpuset_and_psi_are_the_kernels_own(tmp_path: Path) -> None:
    """Two busy processes held on CPU 1 run there alone and wait for one another; then all is as it was."""
    told = told_by_guest(tmp_path)

    assert told.get("error") is None, told["error"]
    assert told["results"] == {"list": "applied", "too many": "refused"}
    assert (told["limited"], told["runs_on"], told["restored"]) == ("1", [1], True)
    assert sorted(told["waited"]["crowded"]) == ["cpu", "io", "memory"]
    assert told["waited"]["crowded"]["cpu"] > 0.5 > told["waited"]["idle"]["cpu"]
