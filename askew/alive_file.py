"""A file that a loop touches at each turn: the liveness of processes that listen nowhere.

``python -m askew.alive_file FILE SECONDS`` is the probe; it loads nothing more, because a kubelet runs it all the time.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from askew.errors import CommandError

log = logging.getLogger(__name__)


def toucher(path: str | None) -> Callable[[], None]:
    """Return what touches the file, which it has done once; of no file, what does nothing.

    It never raises later: a disk that is full must not end what is watched. Raises CommandError for a file that cannot
    be there.
    """
    if path is None:
        return lambda: None
    file, said = Path(path), set[str]()
    try:
        file.touch()
    except OSError as error:
        raise CommandError(f"--alive {path}: {error.strerror}, allowed: a file that can be written") from error

    def touch() -> None:
        try:
            file.touch()
            said.clear()
        except OSError as error:
            if not said:
                log.warning("--alive %s: %s; who asks it takes this process for dead", path, error.strerror)
            said.add(path)

    return touch


def is_alive(path: str, *, limit_s: float, now_s: float) -> bool:
    """Whether the file was touched within ``limit_s`` of ``now_s`` (the wall clock, which may have been set back)."""
    try:
        return abs(now_s - Path(path).stat().st_mtime) <= limit_s
    except OSError:
        return False


if __name__ == "__main__":
    if not is_alive(sys.argv[1], limit_s=float(sys.argv[2]), now_s=time.time()):
        sys.exit(f"{sys.argv[1]}: not touched for {sys.argv[2]} s")
