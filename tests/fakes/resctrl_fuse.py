"""The model of resctrl as a file system: ``python -m tests.fakes.resctrl_fuse MOUNT THREAD...`` serves until unmounted.

The writer under test is the real one, on real system calls; only what answers behind the mount is a model.
"""

from __future__ import annotations

import errno
import stat
import sys
from typing import Any

import mfusepy

from tests.fakes.fake_resctrl import FakeResctrl

FILES = ("schemata", "tasks")
LAST_STATUS = "info/last_cmd_status"


class ResctrlFiles(mfusepy.Operations):
    """Paths to the model's groups and files. A write is one command, as in the kernel."""

    use_ns = True

    def __init__(self, model: FakeResctrl) -> None:
        self.model = model

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        inside = path.strip("/")
        if inside in self._directories():
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2, "st_ino": 1}
        self._text(inside)
        return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": 0}

    def readdir(self, path: str, fh: int) -> list[str]:
        inside = path.strip("/")
        names = [*FILES, "info", *filter(None, self.model.groups)] if not inside else list(FILES)
        return [".", "..", *names]

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return self._text(path.strip("/")).encode()[offset : offset + size]

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        group, _, file = path.strip("/").rpartition("/")
        try:
            self.model.write(group, file, data.decode())
        except OSError as error:
            raise mfusepy.FuseOSError(error.errno or errno.EIO) from error
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        return self._made(self.model.make, path)

    def rmdir(self, path: str) -> int:
        return self._made(self.model.remove, path)

    def _made(self, command: Any, path: str) -> int:
        try:
            command(path.strip("/"))
        except OSError as error:
            raise mfusepy.FuseOSError(error.errno or errno.EIO) from error
        return 0

    def _directories(self) -> set[str]:
        return {"", "info", "info/L3", "info/MB", *self.model.groups}

    def _text(self, inside: str) -> str:
        model = self.model
        info = {
            LAST_STATUS: model.status,
            "info/L3/cbm_mask": f"{(1 << model.total_ways) - 1:x}",
            "info/L3/min_cbm_bits": str(model.min_bits),
            "info/L3/num_closids": str(model.closids),
            "info/MB/min_bandwidth": str(model.min_bandwidth),
            "info/MB/bandwidth_gran": str(model.step),
        }
        if inside in info:
            return info[inside] + "\n"
        group, _, file = inside.rpartition("/")
        if file not in FILES or group not in model.groups:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return model.read(group, file)


def main() -> None:
    """Mount and serve."""
    model = FakeResctrl(threads=dict.fromkeys(sys.argv[2:], ""))
    mfusepy.FUSE(ResctrlFiles(model), sys.argv[1], foreground=True, nothreads=True, direct_io=True, fsname="resctrl")


if __name__ == "__main__":
    main()
