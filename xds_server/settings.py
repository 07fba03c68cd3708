"""Settings of the xDS server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class XdsSettings:
    """How the xDS server behaves under load and at its limits."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback, because the traffic is plaintext."""

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
