"""Settings of the xDS server."""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.errors import BadSettingsError
from xds_server.loopback import is_loopback


@dataclass(frozen=True, slots=True)
class XdsSettings:
    """How the xDS server behaves under load and at its limits."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback, because without a certificate the traffic is plaintext."""

    port: int = 18000
    """TCP port; 0 takes a free one."""

    hold_limit_s: float = 5.0
    """A route waits for its clusters and their endpoints this long; a client that never fetches them gets it then."""

    removal_delay_s: float = 0.5
    """Clusters stay this long after the routes that led to them, for requests that are between two tries."""

    largest_response_bytes: int = 4 * 1024 * 1024 - 64 * 1024
    """Responses stay below gRPC's default limit of 4 MiB for a received message."""

    rest_hold_s: float = 0.5
    """A REST poll with nothing new waits this long for news before it is told "not modified"."""

    max_pending_requests: int = 100_000
    """Streams that may wait for their first turn; grpc.aio's default cancels some when thousands reconnect at once."""

    new_streams_per_s: float = 2000.0
    """Streams let in each second beyond the burst, so that a reconnect storm does not delay everyone else; 0: any."""

    new_streams_burst: int = 5000
    """Streams let in at once."""

    pushes_per_s: float = 20000.0
    """Responses sent each second beyond the burst; 0: any."""

    pushes_burst: int = 20000
    """Responses sent at once."""

    max_stream_age_s: float = 1800.0
    """A stream is ended (with OK) after about this long, ± 10 %, so that replicas share the load again; 0: never."""

    keepalive_s: float = 30.0
    """Idle connections are probed after this long, so that a half-open one is noticed."""

    keepalive_timeout_s: float = 10.0
    """A probe that is not answered in this time ends the connection."""

    drain_s: float = 2.0
    """On stop, streams get this long to end before they are cancelled."""

    certificate_file: str = ""
    """The port's certificate chain (PEM). With it the port speaks mTLS; empty is plaintext."""

    key_file: str = ""
    """Its key (PEM, not encrypted)."""

    client_ca_file: str = ""
    """The authorities (PEM) of which clients must show a certificate."""

    trust_domain: str = "cluster.local"
    """The only trust domain whose SPIFFE ids are taken, and the cluster domain that DNS names may end with; Istio's."""

    certificate_poll_s: float = 1.0
    """How often the three files are looked at; new connections get a renewed certificate within two looks."""

    token_port: int = 0
    """A further TCP port, TLS without client certificates, whose clients show a service account's token; 0: none."""

    token_streams_per_pod: int = 5000
    """Streams that one pod may have open there, one for each steered Service, and an address to be judged; 0: any."""

    plaintext_beyond_loopback: bool = False
    """Whether the port may be plaintext on an address that others reach. Then everyone may claim to be any proxy."""

    @property
    def is_mtls(self) -> bool:
        """Whether clients must show a certificate, which then decides who they are."""
        return bool(self.certificate_file)


def check(settings: XdsSettings) -> None:
    """Raise BadSettingsError, one line, for half of a TLS configuration, or for plaintext where others can reach it."""
    files = {name: getattr(settings, name) for name in ("certificate_file", "key_file", "client_ca_file")}
    if any(files.values()) and not all(files.values()):
        missing = ", ".join(f"xds.{name}" for name, file in files.items() if not file)
        raise BadSettingsError(f"{missing}: found nothing, allowed: a file (mTLS needs certificate, key and client CA)")
    if settings.token_port and not settings.is_mtls:
        raise BadSettingsError(
            f"xds.token_port: found {settings.token_port} without xds.certificate_file, allowed: 0, or a certificate"
        )
    if not settings.is_mtls and not settings.plaintext_beyond_loopback and not is_loopback(settings.host):
        raise BadSettingsError(
            f"xds.host: found {settings.host!a} without xds.certificate_file, allowed: a loopback address, "
            "mTLS, or xds.plaintext_beyond_loopback: true"
        )
