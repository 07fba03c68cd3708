"""A certificate authority for tests, made by the ``openssl`` program: no dependency, and nothing real is signed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key."""

    certificate: Path
    key: Path

    def install(self, certificate: Path, key: Path) -> None:
        """Put both in the place of others, each by renaming over it, as a renewing program does."""
        for source, target in ((self.certificate, certificate), (self.key, key)):
            fresh = target.with_suffix(".new")
            fresh.write_bytes(source.read_bytes())
            fresh.rename(target)


class Authority:
    """Signs what a test asks for; its own certificate is ``certificate``."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("no openssl program to make certificates with")
        self._folder = folder
        self.certificate, self._key = folder / f"{name}.crt", folder / f"{name}.key"
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self._openssl(self.certificate, self._key, name, *usage)

    def issue(self, name: str, san: str) -> Issued:
        """Return a new certificate; ``san`` as openssl writes it, ``DNS:web-0.default,IP:127.0.0.1``."""
        issued = Issued(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        signed = ("-CA", str(self.certificate), "-CAkey", str(self._key))
        names = ("-addext", f"subjectAltName={san}") if san else ()
        self._openssl(issued.certificate, issued.key, name, *signed, *names, "-addext", "basicConstraints=CA:FALSE")
        return issued

    def _openssl(self, certificate: Path, key: Path, name: str, *more: str) -> None:
        where = ("-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={name}")
        subprocess.run(("openssl", "req", "-x509", *CURVE, *where, *more), check=True, capture_output=True)
