"""Messages of ``askew.enforcer.v1`` to values and back. What a message says is checked as an action file is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from enforcer.journal import Lease
from enforcer.proto import node_agent_pb2 as pb
from enforcer.results import ActionResult, Outcome, Restored, WriteMade
from enforcer.told_containers import ToldList, read_told_list
from mesh.actions import Action, ActionSet, read_action_set
from mesh.errors import BadInputError
from mesh.link_measurement import LinkBytes, Measurement, Method, Side, Unmeasured
from mesh.topology import ContainerName

M = TypeVar("M", bound=Message)
LARGEST_REQUEST_BYTES = 1 << 20
OUTCOMES: Mapping[Outcome, int] = {
    "applied": pb.APPLIED,
    "unchanged": pb.UNCHANGED,
    "unsupported": pb.UNSUPPORTED,
    "refused": pb.REFUSED,
    "failed": pb.FAILED,
}
SHORTEST_WINDOW_S = 0.001
"""Of a measurement; bytes of less make rates that no arithmetic holds."""
_METHODS: Mapping[str, Method] = {"sockets": "sockets", "capture": "capture"}
_SIDES: Mapping[str, Side] = {"client": "client", "server": "server"}
_OUTCOME_OF = {number: outcome for outcome, number in OUTCOMES.items()}


@dataclass(frozen=True, slots=True)
class MigrationWish:
    """A wish that a container leaves this node. ``certain``: it was shown that no partition exists."""

    container: ContainerName
    reason: str
    certain: bool = False


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What ``Status`` and ``Watch`` tell."""

    node: str
    role: str
    is_dry_run: bool
    generation: int
    capabilities: Mapping[str, str]
    leases: tuple[Lease, ...] = ()
    conflicts: tuple[str, ...] = ()
    migrations: tuple[MigrationWish, ...] = ()
    containers_generation: int = 0


def parse(message: type[M], data: bytes) -> M:
    """Return the message that ``data`` is. Raises BadInputError where it is none."""
    try:
        return message.FromString(data)
    except (DecodeError, ValueError) as error:
        name = message.DESCRIPTOR.full_name
        raise BadInputError("", f"{len(data)} bytes that cannot be read", f"a message {name}") from error


def action_set_of(request: pb.ApplyRequest) -> ActionSet:
    """Return the action set of a request. Raises BadInputError, with the path inside the message."""
    actions = [_document_of(action) for action in request.actions]
    return read_action_set({"generation": request.generation, "ttl_s": request.ttl_s, "actions": actions})


def _document_of(action: pb.Action) -> dict[str, Any]:
    document = {"container": action.container, "resource": action.resource, "unit": action.unit}
    which = action.WhichOneof("value")
    return document if which is None else document | {"value": getattr(action, which)}


def told_list_of(request: pb.SetContainersRequest) -> ToldList:
    """Return the list of a request. Raises BadInputError, with the path inside the message."""
    containers = [_entry_of(container) for container in request.containers]
    return read_told_list({"node": request.node, "generation": request.generation, "containers": containers})


def _entry_of(container: pb.ListedContainer) -> dict[str, Any]:
    place = container.WhichOneof("place")
    entry: dict[str, Any] = {"name": container.name}
    entry |= {} if place is None else {place: getattr(container, place)}
    optional = {"container_class": "class", "target_ms": "target_ms", "percentile": "percentile", "latency": "latency"}
    return entry | {key: getattr(container, name) for name, key in optional.items() if container.HasField(name)}


def message_of_told_list(told: ToldList) -> pb.SetContainersRequest:
    """Return the request that tells a list."""
    containers = [
        pb.ListedContainer(
            name=one.name,
            cgroup=one.cgroup,
            pid=one.pid,
            container_class=one.container_class,
            target_ms=one.target_ms or None,
            percentile=one.percentile,
            latency=one.latency or None,
        )
        for one in told.containers
    ]
    return pb.SetContainersRequest(node=told.node, generation=told.generation, containers=containers)


def request_of(action_set: ActionSet, *, dry_run: bool) -> pb.ApplyRequest:
    """Return the request that asks for an action set."""
    actions = [message_of_action(action) for action in action_set.actions]
    return pb.ApplyRequest(generation=action_set.generation, ttl_s=action_set.ttl_s, actions=actions, dry_run=dry_run)


def message_of_action(action: Action) -> pb.Action:
    """Return an action as a message."""
    message = pb.Action(container=action.container, resource=action.resource, unit=action.unit)
    if isinstance(action.value, str):
        message.cpus = action.value
    else:
        message.number = action.value
    return message


def response_of(generation: int, results: Iterable[ActionResult]) -> pb.ApplyResponse:
    """Return results as a message."""
    return pb.ApplyResponse(generation=generation, results=[_result(result) for result in results])


def results_of(response: pb.ApplyResponse) -> tuple[ActionResult, ...]:
    """Return the results of a message; an outcome that is not known here is ``failed``."""
    return tuple(
        ActionResult(
            ContainerName(result.container),
            result.resource,
            _OUTCOME_OF.get(result.outcome, "failed"),
            result.detail,
            _writes_of(result.writes),
        )
        for result in response.results
    )


def message_of_status(status: NodeStatus, *, now_s: float) -> pb.StatusResponse:
    """Return a status as a message; ``now_s`` is on the leases' clock."""
    held = [
        pb.HeldAction(
            action=message_of_action(lease.action),
            generation=lease.generation,
            expires_in_s=max(0.0, lease.expires_at_s - now_s),
        )
        for lease in status.leases
    ]
    wishes = [pb.Migration(container=w.container, reason=w.reason, certain=w.certain) for w in status.migrations]
    return pb.StatusResponse(
        node=status.node,
        role=status.role,
        dry_run=status.is_dry_run,
        generation=status.generation,
        capabilities=dict(status.capabilities),
        actions=held,
        conflicts=status.conflicts,
        migrations=wishes,
        containers_generation=status.containers_generation,
    )


def lease_of(held: pb.HeldAction, *, now_s: float) -> Lease:
    """Return a lease of a message; what it demands of the kernel is its owner's affair and not in it."""
    value: float | str = held.action.cpus if held.action.WhichOneof("value") == "cpus" else held.action.number
    action = Action(ContainerName(held.action.container), held.action.resource, value, held.action.unit)  # type: ignore[arg-type]
    return Lease(action, held.generation, now_s + held.expires_in_s, ())


def message_of_restored(restored: Restored) -> pb.RevertResponse:
    """Return what was given back as a message."""
    writes = [_write(write) for write in restored.writes]
    return pb.RevertResponse(writes=writes, conflicts=restored.conflicts, failed=restored.failed)


def restored_of(response: pb.RevertResponse) -> Restored:
    """Return what a message says was given back."""
    return Restored(_writes_of(response.writes), tuple(response.conflicts), tuple(response.failed))


def message_of_measurement(measurement: Measurement | None, passed_over: Sequence[Unmeasured]) -> pb.MeasureResponse:
    """Return a measurement (None: no way worked) and the ways passed over as a message."""
    skipped = [pb.Unmeasured(method=one.method, reason=one.reason) for one in passed_over]
    if measurement is None:
        return pb.MeasureResponse(passed_over=skipped)
    links = [
        pb.LinkBytes(
            peer=link.peer,
            port=link.port,
            side=link.side,
            bytes_sent=link.bytes_sent,
            bytes_received=link.bytes_received,
            connections=link.connections,
        )
        for link in measurement.links
    ]
    return pb.MeasureResponse(
        method=measurement.method,
        window_s=measurement.window_s,
        complete=measurement.complete,
        cost_cpu_s=measurement.cost_cpu_s,
        links=links,
        notes=measurement.notes,
        passed_over=skipped,
    )


def measurement_of(response: pb.MeasureResponse, container: ContainerName) -> Measurement | None:
    """Return the measurement of a message, None where no way worked. Raises BadInputError for one that cannot be."""
    if not response.method:
        return None
    is_sane = SHORTEST_WINDOW_S <= response.window_s < math.inf and 0.0 <= response.cost_cpu_s < math.inf
    if response.method not in _METHODS or not is_sane:
        found = f"method {response.method!a}, window_s {response.window_s:g}, cost_cpu_s {response.cost_cpu_s:g}"
        raise BadInputError("", found, f"{' or '.join(_METHODS)}, {SHORTEST_WINDOW_S:g} s or more, and a cost >= 0")
    links = tuple(
        LinkBytes(
            link.peer,
            link.port,
            _SIDES.get(link.side, "unknown"),
            bytes_sent=link.bytes_sent,
            bytes_received=link.bytes_received,
            connections=link.connections,
        )
        for link in response.links
    )
    return Measurement(
        container,
        _METHODS[response.method],
        response.window_s,
        links,
        cost_cpu_s=response.cost_cpu_s,
        complete=response.complete,
        notes=tuple(response.notes),
    )


def _result(result: ActionResult) -> pb.Result:
    return pb.Result(
        container=result.container,
        resource=result.resource,
        outcome=OUTCOMES[result.result],  # type: ignore[arg-type]
        detail=result.detail,
        writes=[_write(write) for write in result.writes],
    )


def _write(write: WriteMade) -> pb.Write:
    return pb.Write(path=write.path, before=write.before, after=write.after)


def _writes_of(writes: Iterable[pb.Write]) -> tuple[WriteMade, ...]:
    return tuple(
        WriteMade(
            write.path,
            write.before if write.HasField("before") else None,
            write.after if write.HasField("after") else None,
        )
        for write in writes
    )
