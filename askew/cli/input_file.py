"""Read the files that a person names on the command line, and blame the right one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from askew.errors import CommandError
from mesh.errors import BadInputError, one_line

T = TypeVar("T")
LARGEST_BYTES = 512 * 1024 * 1024


def read_text(file: str) -> str:
    """Return the UTF-8 text of ``file`` (``-`` is standard input). Raises CommandError, one line, with its name."""
    try:
        if file == "-":
            return sys.stdin.buffer.read().decode("utf-8-sig")
        path = Path(file)
        if path.stat().st_size > LARGEST_BYTES:
            raise CommandError(one_line(f"{file}: larger than {LARGEST_BYTES} bytes"))
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CommandError(one_line(f"{file}: {error.strerror or error}, allowed: a readable file")) from error
    except UnicodeDecodeError as error:
        raise CommandError(one_line(f"{file}: not UTF-8 at byte {error.start}, allowed: UTF-8 text")) from error
    except ValueError as error:  # a NUL in the name
        raise CommandError(one_line(f"{file}: {error}, allowed: a file's path")) from error


def parse_file(file: str, parse: Callable[[str], T]) -> T:
    """Return ``parse(text of file)``; a BadInputError becomes a CommandError that names the file."""
    text = read_text(file)
    try:
        return parse(text)
    except BadInputError as error:
        raise CommandError(one_line(f"{file}: {error}")) from error
