"""TLS of the xDS port: certificates from files, looked at again and again, and clients that must show theirs.

A renewed certificate is what new connections get; open streams live on with the one that they began with. What cannot
be used is said once and changes nothing. Source: gRPC, ``dynamic_ssl_server_credentials``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc

from xds_server.errors import BadSettingsError
from xds_server.metrics import XdsMetrics
from xds_server.settings import XdsSettings

log = logging.getLogger(__name__)

Fingerprint = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the port needs, as PEM: its own certificate with key, and the authorities of its clients."""

    certificate: bytes
    key: bytes
    client_ca: bytes

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """Return it as gRPC takes it."""
        return grpc.ssl_server_certificate_configuration(
            [(self.key, self.certificate)], root_certificates=self.client_ca
        )


class CertificateFiles:
    """The three files of the settings. ``load``, then ``credentials`` for a server, then ``run`` until cancelled."""

    def __init__(
        self,
        settings: XdsSettings,
        metrics: XdsMetrics,
        *,
        section: str = "xds.",
        on_renewed: Callable[[], None] = lambda: None,
    ) -> None:
        self._files = (settings.certificate_file, settings.key_file, settings.client_ca_file)
        self._section, self._on_renewed = section, on_renewed
        self._poll_s, self._loads = settings.certificate_poll_s, metrics.certificate_loads
        self._seen: Fingerprint = ()
        self._in_force: Certificates | None = None
        self._wanted: grpc.ServerCertificateConfiguration | None = None  # written by the loop, read by gRPC's threads

    def load(self) -> None:
        """Read the files for the first time. Raises BadSettingsError where they cannot be used."""
        self._seen = self._fingerprint()
        self._in_force = read_certificates(*self._files, section=self._section)
        self._wanted = self._in_force.configuration()
        self._loads.labels("accepted").inc()

    def credentials(self, *, clients: Literal["certificate", "token"] = "certificate") -> grpc.ServerCredentials:
        """Return credentials for one ``add_secure_port`` that follow the files.

        ``clients`` says how they prove who they are: ``certificate`` requires one of theirs, ``token`` asks for none.
        """
        assert self._wanted is not None
        return grpc.dynamic_ssl_server_credentials(
            self._wanted,
            self.renewals(),  # type: ignore[arg-type]  # gRPC documents None; its stubs do not
            require_client_authentication=clients == "certificate",
        )

    def renewals(self) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
        """Return what one port asks at each handshake, in a thread of gRPC's: what is new to it, None to keep the last.

        No lock is needed: the loop writes what is wanted, and each port its own memory of what it was given.
        """
        given = self._wanted

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            wanted = self._wanted
            if wanted is given:
                return None
            given = wanted
            return wanted

        return renewed

    def ssl_context(self) -> ssl.SSLContext:
        """Return a context for an HTTP server that has what the files hold and requires a client's certificate.

        Sessions cannot be taken up again: that would pass over the client's certificate. Raises BadSettingsError where
        the files are being changed at this very moment; the next look finds them at rest.
        """
        assert self._in_force is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(*self._files[:2], password=b"none")
        except (OSError, ValueError) as error:
            raise BadSettingsError(f"{self._section}certificate_file: {_why(error)}") from error
        context.load_verify_locations(cadata=self._in_force.client_ca.decode("ascii", "replace"))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    async def run(self) -> None:
        """Look until cancelled. Files that are still being written are left until two looks see the same."""
        resting = self._seen
        while True:
            await asyncio.sleep(self._poll_s)
            now = self._fingerprint()
            if now != self._seen and now == resting:
                self._seen = now
                await self._reload()
            resting = now

    async def _reload(self) -> None:
        try:
            found = await asyncio.to_thread(read_certificates, *self._files, section=self._section)
        except BadSettingsError as error:
            self._loads.labels("refused").inc()
            log.error("certificate refused, the one in force stays: %s", error)
            return
        self._loads.labels("accepted").inc()
        if found != self._in_force:
            self._in_force = found
            self._wanted = found.configuration()
            log.info("certificate read again; new connections get it")
            self._on_renewed()

    def _fingerprint(self) -> Fingerprint:
        return tuple(_fingerprint(file) for file in self._files)


def read_certificates(
    certificate_file: str, key_file: str, client_ca_file: str, *, section: str = "xds."
) -> Certificates:
    """Return the files' contents once they are known to work together.

    Raises
    ------
    BadSettingsError
        for a file that cannot be read, a certificate that is none, a key that is not its key or that is encrypted.
    """
    found = Certificates(
        certificate=_read(f"{section}certificate_file", certificate_file),
        key=_read(f"{section}key_file", key_file),
        client_ca=_read(f"{section}client_ca_file", client_ca_file),
    )
    try:
        # The password keeps OpenSSL from asking for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_file, key_file, password=b"none")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise BadSettingsError(
            f"{section}certificate_file: found {certificate_file!a} ({_why(error)}), "
            f"allowed: a PEM certificate whose key, not encrypted, is in {key_file!a}"
        ) from error
    _check_authorities(found.client_ca, client_ca_file, section)
    return found


def _check_authorities(client_ca: bytes, file: str, section: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=client_ca.decode("ascii", "replace"))
    except (OSError, ValueError) as error:
        raise BadSettingsError(
            f"{section}client_ca_file: found {file!a} ({_why(error)}), allowed: PEM certificates of authorities"
        ) from error


def _read(setting: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        raise BadSettingsError(f"{setting}: found {file!a} ({_why(error)}), allowed: a readable file") from error


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(reason).replace("\n", " ")


def _fingerprint(file: str) -> tuple[int, int, int] | None:
    """Return what changes when a file, or what its link leads to, is rewritten or renamed over."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
