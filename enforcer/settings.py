"""What a person may set about the writer, the API and the loop. Composed and parsed once, by ``askew/``."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from enforcer.errors import BadAgentSettingsError


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """Settings of the one writer."""

    journal_name: str = "writer"
    """Base of the names of the lock and the journal; each role of the agent has its own."""

    journal_limit_bytes: int = 256 * 1024
    """A longer journal is rewritten as its state alone. 256 KiB hold about an hour of 500 ms steps."""

    reasserts: int = 1
    """How often a value that was set back to its original is written again: systemd's daemon-reload does that once,
    a foreign writer does it again and then wins."""

    page_bytes: int = 4096
    """The kernel rounds memory limits down to it."""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The agent's gRPC port."""

    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback only with certificates."""

    port: int = 18100
    """TCP port; 0 takes a free one."""

    certificate_file: str = ""
    """The port's certificate chain (PEM). With it the port speaks mTLS; empty is plaintext, on loopback only."""

    key_file: str = ""
    """Its key (PEM, not encrypted)."""

    client_ca_file: str = ""
    """The authorities (PEM) of which clients must show a certificate."""

    allowed_clients: str = "spiffe://cluster.local/ns/askew-system/sa/askew"
    """URIs and DNS names of the clients that may ask, commas between; empty: all of the authorities."""

    longest_measure_s: float = 60.0
    """A measurement of links watches no longer."""

    watch_s: float = 0.5
    """How often a watched status is compared with the one last told."""

    @property
    def is_mtls(self) -> bool:
        """Whether clients must show a certificate."""
        return bool(self.certificate_file)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The loop on a node."""

    tick_s: float = 0.5
    """Time between two steps (PARTIES: shorter tails are noise)."""

    strategy: str = "askew"
    """Who decides: askew, parties, parties-released, static; none: only what others ask for."""

    resources: str = "auto"
    """What is divided, commas between; auto: cpu (or cpuset from 8 CPUs), cache and cpu_frequency where there are, and
    disk and network where their size is given. memory and memory_bandwidth only by name."""

    disk_bytes_per_s: float = 0.0
    """What a disk of the node can read, and write; 0: disks are not divided."""

    network_bits_per_s: float = 0.0
    """What the node can send, and receive; 0: the network is not divided."""

    lease_s: float = 10.0
    """The loop's own leases; renewed while it runs, so that a loop that hangs lets go."""

    reserve_cores: float = 0.0
    """Cores that are never given to containers."""

    scrape_deadline_s: float = 0.25
    """A latency page that takes longer is not waited for in this step; its answer counts in the step when it comes."""

    scrape_give_up_s: float = 10.0
    """A latency page that takes longer is asked anew."""

    largest_page_bytes: int = 4 * 1024 * 1024
    """A longer latency page is refused."""

    coarsest_bucket: float = 1.3
    """Bounds around the target that are further apart than this (ratio) cannot show a slack: refused, with a reason."""

    keep_on_stop: bool = False
    """Whether SIGTERM leaves the leases to run out instead of giving everything back."""

    network_socket: str = "network.sock"
    """The network role's socket, in the state directory."""


def check_api(settings: ApiSettings) -> None:
    """Raise BadAgentSettingsError for half of a TLS configuration, or for plaintext where others can reach it."""
    files = {name: getattr(settings, name) for name in ("certificate_file", "key_file", "client_ca_file")}
    if any(files.values()) and not all(files.values()):
        missing = ", ".join(f"api.{name}" for name, file in files.items() if not file)
        raise BadAgentSettingsError(
            f"{missing}: found nothing, allowed: a file (mTLS needs certificate, key and client CA)"
        )
    if not settings.is_mtls and not _is_loopback(settings.host):
        raise BadAgentSettingsError(
            f"api.host: found {settings.host!a} without api.certificate_file, allowed: a loopback address, or mTLS"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
