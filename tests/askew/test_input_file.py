"""Files that a person names: the one line says which file, and where in it."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from askew.cli import input_file
from askew.cli.input_file import parse_file, read_text
from askew.errors import CommandError
from mesh.mesh_file import parse_mesh_file


def test_the_file_and_the_path_inside_it(tmp_path: Path) -> None:
    """A BadInputError becomes one line that starts with the file's name."""
    file = tmp_path / "mesh.yaml"
    file.write_text("apiVersion: askew.mesh/v1\nnodes: 7\n")

    with pytest.raises(CommandError) as refused:
        parse_file(str(file), parse_mesh_file)

    assert (str(refused.value), refused.value.exit_code) == (f"{file}: nodes: found 7, allowed: a list", 2)


def test_what_is_no_readable_text_is_refused(tmp_path: Path) -> None:
    """A missing file, a folder, bytes that are no UTF-8 and a name with NUL: each one line with the name."""
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for name, reason in [("none", "No such file"), (".", "Is a directory"), ("latin", "not UTF-8 at byte 3")]:
        with pytest.raises(CommandError, match=reason) as refused:
            read_text(str(tmp_path / name))
        assert str(refused.value).startswith(str(tmp_path))
    with pytest.raises(CommandError, match="allowed: a file's path"):
        read_text("a\0b")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read of a file over the limit."""
    (tmp_path / "large").write_text("12345")
    monkeypatch.setattr(input_file, "LARGEST_BYTES", 4)

    with pytest.raises(CommandError, match="larger than 4 bytes"):
        read_text(str(tmp_path / "large"))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """Windows editors write one."""
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfa: 1")

    assert read_text(str(tmp_path / "bom")) == "a: 1"


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` reads from standard input, and is named in errors."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"nodes: 7")))

    with pytest.raises(CommandError, match=r"^-: apiVersion: found no such key"):
        parse_file("-", parse_mesh_file)
