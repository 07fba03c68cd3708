"""Actions: what a container shall have of its node, and the JSON file that says so."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mesh.document import Fields, integer, load_document, matching, number, one_of
from mesh.errors import BadInputError
from mesh.topology import ContainerName

Resource = Literal[
    "cpu",
    "cpuset",
    "cpu_frequency",
    "memory",
    "memory_bandwidth",
    "cache",
    "disk_read",
    "disk_write",
    "network_egress",
    "network_ingress",
]
Unit = Literal["cores", "cpus", "mhz", "bytes", "percent", "ways", "bytes_per_s", "bits_per_s"]
UNITS_OF: Mapping[Resource, tuple[Unit, ...]] = {
    "cpu": ("cores",),
    "cpuset": ("cpus",),
    "cpu_frequency": ("mhz",),
    "memory": ("bytes",),
    "memory_bandwidth": ("percent", "bytes_per_s"),
    "cache": ("ways",),
    "disk_read": ("bytes_per_s",),
    "disk_write": ("bytes_per_s",),
    "network_egress": ("bits_per_s",),
    "network_ingress": ("bits_per_s",),
}
RESOURCES: tuple[Resource, ...] = tuple(UNITS_OF)
LONGEST_TTL_S = 86400.0
CPU_LIST = r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?){0,255}"


@dataclass(frozen=True, slots=True)
class Action:
    """One container's part of one resource.

    ``value`` is a number in ``unit``; for ``cpuset`` a number of CPUs, or a list of them such as ``0-3,8``.
    """

    container: ContainerName
    resource: Resource
    value: float | str
    unit: Unit


@dataclass(frozen=True, slots=True)
class ActionSet:
    """Actions that are taken together or not at all.

    ``generation`` never falls from one set to the next; every action ends ``ttl_s`` after its last set, and the host
    then has its own value back. A set changes what it names; older actions run on until their own end.
    """

    generation: int
    ttl_s: float
    actions: tuple[Action, ...] = ()


_name = matching(r"[A-Za-z0-9]([-._/:@A-Za-z0-9]{0,1023})?", "letters, digits and -._/:@, at most 1024")
_cpu_list = matching(CPU_LIST, "a number of CPUs, or a list such as 0-3,8")
_ttl = number(0.0, LONGEST_TTL_S, above=True, allowed=f"seconds > 0 and <= {LONGEST_TTL_S:.0f}")
_VALUE_OF = {
    "cores": number(0.0, 4096.0, above=True, allowed="cores > 0 and <= 4096"),
    "mhz": number(0.0, 20000.0, above=True, allowed="MHz > 0 and <= 20000"),
    "bytes": number(1.0, 2.0**60, allowed="bytes >= 1 and <= 2^60"),
    "percent": number(1.0, 100.0, allowed="percent from 1 to 100"),
    "bytes_per_s": number(1.0, 2.0**60, allowed="bytes per second >= 1 and <= 2^60"),
    "bits_per_s": number(1.0, 1e13, allowed="bits per second >= 1 and <= 1e13"),
}


def parse_action_set(text: str) -> ActionSet:
    """Return the action set that a JSON text describes.

    Raises
    ------
    BadInputError
        names the place, what was found and what is allowed; also for a second action on one container's resource.

    Examples
    --------
    >>> parse_action_set('{"generation": 7, "ttl_s": 60, "actions": []}').ttl_s
    60.0
    """
    return read_action_set(_json(text))


def read_action_set(document: object) -> ActionSet:
    """Return the action set that a document (of a file, of a message) describes. Raises as ``parse_action_set`` does.

    >>> read_action_set({"generation": 7, "ttl_s": 60.0, "actions": []}).generation
    7
    """
    top = Fields(document, "", allowed=("generation", "ttl_s", "actions"))
    actions = top.items("actions", _action)
    seen: set[tuple[str, str]] = set()
    for index, action in enumerate(actions):
        if (action.container, action.resource) in seen:
            raise BadInputError(f"actions[{index}]", action.resource, f"one action on {action.container}'s resource")
        seen.add((action.container, action.resource))
    return ActionSet(
        generation=top.take("generation", integer(0, 2**63 - 1)), ttl_s=top.take("ttl_s", _ttl), actions=actions
    )


def _json(text: str) -> object:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInputError("", f"JSON that cannot be read: {error}", "valid JSON") from error
    return load_document(text)  # once more, for keys that stand twice and for NaN


def _action(value: object, path: str) -> Action:
    fields = Fields(value, path, allowed=("container", "resource", "value", "unit"))
    container = ContainerName(fields.take("container", _name))
    resource: Resource = fields.take("resource", one_of(RESOURCES))
    unit: Unit = fields.take("unit", one_of(UNITS_OF[resource]))
    return Action(container, resource, fields.take("value", lambda found, at: _value(found, at, unit)), unit)


def _value(value: object, path: str, unit: Unit) -> float | str:
    if unit == "cpus":
        if isinstance(value, str):
            return _ordered(_cpu_list(value, path), path)
        return _whole(
            value, path, highest=4096, allowed="a whole number of CPUs from 1 to 4096, or a list such as 0-3,8"
        )
    if unit == "ways":
        return _whole(value, path, highest=64, allowed="a whole number of ways from 1 to 64")
    return _VALUE_OF[unit](value, path)


def _whole(value: object, path: str, *, highest: int, allowed: str) -> float:
    found = number(1.0, float(highest), allowed=allowed)(value, path)
    if not found.is_integer():
        raise BadInputError(path, value, allowed)
    return found


def _ordered(cpus: str, path: str) -> str:
    for part in re.split(",", cpus):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            raise BadInputError(path, cpus, "ranges that rise, such as 0-3")
    return cpus
