"""The input of ``askew estimate links``: JSON text to checked values. Every name exists, or its path is told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from askew.cli.json_document import count, load_json, name, time_s
from estimators.container_links import ShareColumns
from mesh.counter_sample import CounterSample
from mesh.document import Fields, number, read_list
from mesh.errors import BadInputError
from mesh.topology import ContainerName

_bytes = count(2**64 - 1)  # kernel counters are unsigned 64 bit
_share = number(0.0, 1.0, allowed="a number from 0 to 1")
_rate = number(0.0, 1e18, allowed="bytes per second, a number from 0 to 1e18")


@dataclass(frozen=True, eq=False)
class LinkFile:
    """What the file says, as ``estimate_links`` wants it."""

    containers: Mapping[str, str]
    calls: Sequence[tuple[str, str]]
    samples: Sequence[CounterSample]
    shares: ShareColumns
    measured: Mapping[tuple[str, str], float]


def parse_link_file(text: str) -> LinkFile:
    """Read the file.

    Raises
    ------
    BadInputError
        names the place (``counters[3].receive_bytes``), what was found there and what is allowed.
    """
    top = Fields(load_json(text), "", allowed=("calls", "containers", "counters", "shares", "measured"))
    named = top.items("containers", _container)
    _refuse_twice([container for container, _ in named], "containers[{}].name", "container")
    containers = dict(named)
    services = frozenset(containers.values())
    calls = top.items("calls", lambda value, path: _call(value, path, services))
    samples = top.items("counters", lambda value, path: _sample(value, path, containers))
    shares = top.items("shares", lambda value, path: _share_row(value, path, containers), ())
    _refuse_twice([row[:2] for row in shares], "shares[{}]", "share of")
    pairs = frozenset(calls) | frozenset((server, client) for client, server in calls)
    measured = top.items("measured", lambda value, path: _measured(value, path, services, pairs), ())
    _refuse_twice([ends for ends, _ in measured], "measured[{}]", "link")
    columns = ShareColumns(
        clients=[client for client, _, _ in shares],
        endpoints=[endpoint for _, endpoint, _ in shares],
        shares=np.array([share for _, _, share in shares], dtype=np.float64),
    )
    return LinkFile(containers, calls, samples, columns, dict(measured))


def _container(value: object, path: str) -> tuple[str, str]:
    fields = Fields(value, path, allowed=("name", "service", "node"))
    fields.take("node", name, "")  # where it runs does not matter for links; a wrong type still is an error
    return fields.take("name", name), fields.take("service", name)


def _call(value: object, path: str, services: Collection[str]) -> tuple[str, str]:
    ends = read_list(value, path, _known(services, "the service of a container"))
    if len(ends) != 2:
        raise BadInputError(path, f"{len(ends)} names", "two services: [client, server]")
    return ends[0], ends[1]


def _sample(value: object, path: str, containers: Collection[str]) -> CounterSample:
    fields = Fields(value, path, allowed=("container", "time_s", "receive_bytes", "transmit_bytes"))
    return CounterSample(
        container=ContainerName(fields.take("container", _known(containers, "a name in containers"))),
        time_s=fields.take("time_s", time_s),
        receive_bytes=fields.take("receive_bytes", _bytes),
        transmit_bytes=fields.take("transmit_bytes", _bytes),
    )


def _share_row(value: object, path: str, containers: Collection[str]) -> tuple[str, str, float]:
    fields = Fields(value, path, allowed=("client", "endpoint", "share"))
    known = _known(containers, "a name in containers")
    return fields.take("client", known), fields.take("endpoint", known), fields.take("share", _share)


def _measured(
    value: object, path: str, services: Collection[str], pairs: Collection[tuple[str, str]]
) -> tuple[tuple[str, str], float]:
    fields = Fields(value, path, allowed=("from", "to", "bytes_per_s"))
    known = _known(services, "the service of a container")
    ends = fields.take("from", known), fields.take("to", known)
    if ends not in pairs or ends[0] == ends[1]:
        raise BadInputError(path, f"{ends[0]} to {ends[1]}", "a link of calls")
    return ends, fields.take("bytes_per_s", _rate)


def _known(names: Collection[str], allowed: str) -> Callable[[object, str], str]:
    def read(value: object, path: str) -> str:
        text = name(value, path)
        if text not in names:
            raise BadInputError(path, text, allowed)
        return text

    return read


def _refuse_twice(values: Sequence[Hashable], path: str, what: str) -> None:
    seen = set()
    for index, value in enumerate(values):
        if value in seen:
            shown = " to ".join(value) if isinstance(value, tuple) else value
            raise BadInputError(path.format(index), f"{what} {shown} a second time", "each once")
        seen.add(value)
