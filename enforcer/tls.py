"""mTLS of the agent's port: certificate files that may be renewed, and who of their authorities' clients may ask.

The files are looked at again at each handshake, in gRPC's own thread: a renewed certificate is what new connections
get, and files that cannot be used leave the last good ones in force. Source: gRPC, ``dynamic_ssl_server_credentials``.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from enforcer.errors import BadAgentSettingsError
from enforcer.settings import ApiSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    marks: tuple[tuple[int, int, int] | None, ...]
    configuration: grpc.ServerCertificateConfiguration | None


class ServerCertificates:
    """The three files of the settings, as gRPC takes them."""

    def __init__(self, settings: ApiSettings) -> None:
        self._files = (settings.certificate_file, settings.key_file, settings.client_ca_file)
        self._seen = _Seen((), None)

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that require a client's certificate. Raises BadAgentSettingsError for unusable files."""
        first = self._read()
        return grpc.dynamic_ssl_server_credentials(
            first,
            self._renewed,  # type: ignore[arg-type]  # gRPC documents None; its stubs do not
            require_client_authentication=True,
        )

    def _read(self) -> grpc.ServerCertificateConfiguration:
        marks = tuple(_mark(file) for file in self._files)
        certificate_file, key_file, ca_file = self._files
        try:
            certificate, key, client_ca = (Path(file).read_bytes() for file in self._files)
            # The password keeps OpenSSL from asking for one at the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_file, key_file, password=b"none")
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=client_ca.decode("ascii", "replace"))
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            found = ", ".join(map(ascii, (certificate_file, key_file, ca_file)))
            raise BadAgentSettingsError(
                f"api.certificate_file, api.key_file, api.client_ca_file: found {found} ({why}), "
                "allowed: a PEM certificate, its key (not encrypted) and PEM authorities"
            ) from error
        made = grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=client_ca)
        self._seen = _Seen(marks, made)
        return made

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return a new configuration, None to keep the last."""
        marks = tuple(_mark(file) for file in self._files)
        if marks == self._seen.marks:
            return None
        try:
            return self._read()
        except BadAgentSettingsError as error:
            self._seen = _Seen(marks, self._seen.configuration)
            log.error("certificate refused, the one in force stays: %s", error)
            return None


def refusal(auth_context: Mapping[str, Iterable[bytes]], allowed: str) -> str:
    """Return why the owner of a verified certificate may not ask, one line; empty where it may.

    Parameters
    ----------
    auth_context:
        gRPC's, of the connection.
    allowed:
        URIs and DNS names, commas between; empty allows every client of the authorities.

    >>> refusal({"peer_uri": [b"spiffe://a/ns/b/sa/c"]}, "spiffe://a/ns/b/sa/c")
    ''
    >>> refusal({"peer_uri": [b"spiffe://a/ns/x/sa/y"], "peer_dns": [b"askew"]}, "askew")
    'client certificate: found spiffe://a/ns/x/sa/y, allowed: askew'
    """
    names = {name.strip() for name in allowed.split(",") if name.strip()}
    uris, dns_names = (
        [ascii(value.decode("latin-1"))[1:-1] for value in auth_context.get(key, ())]
        for key in ("peer_uri", "peer_dns")
    )
    shown = uris or dns_names  # a URI alone decides where there is one
    if not names or names & set(shown):
        return ""
    return f"client certificate: found {', '.join(shown) or 'no name'}, allowed: {', '.join(sorted(names))}"


def _mark(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
