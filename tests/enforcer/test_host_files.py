"""Writes on the host's files: one system call, below the mounts alone, through no link."""

from __future__ import annotations

from pathlib import Path

import pytest

from enforcer.host_files import RealFiles


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    """A mount with a group, and beside it what no writer may reach."""
    (tmp_path / "mount" / "group").mkdir(parents=True)
    (tmp_path / "mount" / "group" / "cpu.max").write_text("max 100000\n")
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "mount" / "way-out").symlink_to(tmp_path)
    (tmp_path / "mount" / "group" / "linked").symlink_to(tmp_path / "secret")
    return tmp_path / "mount"


@pytest.mark.parametrize("text", ["1000 100000\n", "1 1\n", "100000000000 100000\n", "\n"])
def test_a_shorter_or_longer_text_replaces_the_old(mount: Path, text: str) -> None:
    """Nothing of the old one is left behind it."""
    path = mount / "group" / "cpu.max"
    RealFiles([str(mount)]).write(str(path), text)

    assert path.read_text() == text


@pytest.mark.parametrize(
    "inside",
    ["../secret", "way-out/secret", "group/linked", "group//cpu.max", "./group/cpu.max", "", "group/../group/cpu.max"],
)
def test_no_path_leads_out(mount: Path, inside: str) -> None:
    """Dots, empty parts and links are refused, and nothing behind them is touched."""
    with pytest.raises(OSError, match=r"escaping|Not a directory|Too many levels|Is a directory"):
        RealFiles([str(mount)]).write(f"{mount}/{inside}", "broken\n")

    assert (mount.parent / "secret").read_text() == "secret\n"


def test_outside_of_the_mounts_nothing_is_written(mount: Path) -> None:
    """Not even a file that is there; a name that only begins alike is outside too."""
    files = RealFiles([str(mount)])
    (mount.parent / "mount-other").mkdir()
    for path in (mount.parent / "secret", mount.parent / "mount-other" / "file"):
        with pytest.raises(PermissionError, match="outside of the mounts"):
            files.write(str(path), "broken\n")


def test_a_mount_itself_may_be_a_link(mount: Path) -> None:
    """v1 links ``cpu`` to ``cpu,cpuacct``: the mount is trusted, what is below it is not."""
    alias = mount.parent / "alias"
    alias.symlink_to(mount)
    RealFiles([str(alias)]).write(f"{alias}/group/cpu.max", "5000 100000\n")

    assert (mount / "group" / "cpu.max").read_text() == "5000 100000\n"


def test_a_missing_file_is_not_made(mount: Path) -> None:
    """The kernel makes files, we write them."""
    with pytest.raises(FileNotFoundError):
        RealFiles([str(mount)]).write(f"{mount}/group/new", "1\n")


def test_identity_changes_with_the_directory(mount: Path) -> None:
    """A group of the same name is another group."""
    files = RealFiles([str(mount)])
    before = files.identity(f"{mount}/group")
    (mount / "group").rename(mount / "old")
    files.make_directory(f"{mount}/group")

    assert files.identity(f"{mount}/group") != before
    files.remove_directory(f"{mount}/group")
    assert files.directories(str(mount)) == ("old",)
