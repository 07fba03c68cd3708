"""Values to messages and back: what replicas of the same types can read, and what they say where they cannot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from askew.control_loop import Memory
from askew.replication import replicas_pb2 as pb
from askew.replication.errors import CodecError
from askew.replication.value_codec import decode, encode, form_of
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import Telemetry
from mesh.topology import ServiceName

T = TypeVar("T")
MAJOR = 1
SERVICE = "askew.replication.v1.Replicas"
FOLLOW = f"/{SERVICE}/Follow"
LARGEST_MESSAGE_BYTES = 256 * 1024 * 1024
OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", LARGEST_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    # Two planes in one process, as in tests, must not share a connection.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True, order=True)
class Reign:
    """Which tick of which leader: ``term`` is the lease's transitions, ``sequence`` counts the leader's ticks."""

    term: int = -1
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Decided:
    """A leader's tick. What a replica of other types could not read is None."""

    leader: str
    reign: Reign
    plan: Plan | None
    picture: Picture | None
    memory: Memory | None


def state_message(leader: str, reign: Reign, *, plan: Plan, picture: Picture, memory: Memory) -> pb.State:
    """Return a leader's tick as it is sent. O(size)."""
    return pb.State(
        major=MAJOR,
        leader=leader,
        term=max(0, reign.term),
        sequence=reign.sequence,
        plan=_value(plan, Plan),
        picture=_value(picture, Picture),
        memory=_value(memory, Memory),
    )


def decided_of(message: pb.State) -> Decided:
    """Return a received tick. Raises CodecError for another major version, or for bytes that are not what they say."""
    _check_major(message.major)
    return Decided(
        leader=message.leader,
        reign=Reign(message.term, message.sequence),
        plan=_read(message.plan, Plan),
        picture=_read(message.picture, Picture),
        memory=_read(message.memory, Memory),
    )


def report_message(replica: str, telemetry: Telemetry, asked: Iterable[ServiceName] = ()) -> pb.Report:
    """Return what a follower's sidecars told it and asked it for, as it is sent. O(samples)."""
    return pb.Report(major=MAJOR, replica=replica, telemetry=_value(telemetry, Telemetry), asked=sorted(asked))


def telemetry_of(message: pb.Report) -> Telemetry | None:
    """Return a follower's telemetry; None where its types are others. Raises CodecError as ``decided_of`` does."""
    _check_major(message.major)
    return _read(message.telemetry, Telemetry)


def _check_major(major: int) -> None:
    if major != MAJOR:
        raise CodecError(f"replica: found major version {major}, allowed: {MAJOR}")


def _value(value: object, kind: Any) -> pb.Value:
    return pb.Value(form=form_of(kind), data=encode(value, kind))


def _read(value: pb.Value, kind: type[T]) -> T | None:
    return decode(value.data, kind) if value.form == form_of(kind) else None
