"""The picture: what is, as far as it is known, with how it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mesh.topology import ContainerName, ServicePort

RateMethod = Literal["given", "measured", "assumed"]


@dataclass(frozen=True)
class ClientRates:
    """Requests per second that each client container sends to one service port, and how that is known."""

    requests_per_s: Mapping[ContainerName, float]
    method: RateMethod


@dataclass(frozen=True)
class Picture:
    """What the estimators made of one tick's telemetry."""

    client_rates: Mapping[ServicePort, ClientRates] = field(default_factory=dict)
