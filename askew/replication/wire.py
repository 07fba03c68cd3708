"""Values to messages and back: what replicas of the same types can read, and what they say where they cannot."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from askew.control_loop import Memory
from askew.replication import replicas_pb2 as pb
from askew.replication.asked import Asked, AskedReader, AskedWriter, services_of
from askew.replication.errors import CodecError
from askew.replication.parts import PartReader, PartWriter
from askew.replication.value_codec import decode, encode, form_of
from istio.self_check import CheckMemory
from mesh.picture import Picture
from mesh.plan import Plan
from mesh.telemetry import Telemetry

T = TypeVar("T")
_KINDS: dict[str, Any] = {"plan": Plan, "picture": Picture, "memory": Memory, "check": CheckMemory}
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
    """A leader's tick. What a replica of other types could not read is None, and named in ``unread``."""

    leader: str
    reign: Reign
    plan: Plan | None
    picture: Picture | None
    memory: Memory | None
    check: CheckMemory | None = None
    unread: tuple[str, ...] = ()


class StateEncoder:
    """Encodes a leader's ticks, each as what has changed since the one before. Any thread may; they take turns."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._last = Decided("", Reign(), None, None, None)
        self._plan, self._picture, self._memory = PartWriter(Plan), PartWriter(Picture), PartWriter(Memory)
        self._check = PartWriter(CheckMemory)

    def changes(self, decided: Decided) -> pb.State:
        """Return a tick as changes to the last one that was encoded; the first is whole. O(parts + what changed)."""
        plan, picture, memory = decided.plan or Plan(), decided.picture or Picture(), decided.memory or Memory()
        check = decided.check or CheckMemory()
        with self._turn:
            base, self._last = self._last.reign.sequence, decided
            if memory.plan.plan is plan:
                memory = replace(memory, plan=replace(memory.plan, plan=Plan()))
            told = self._plan.changes(plan), self._picture.changes(picture), self._memory.changes(memory)
            return self._state(base, *told, self._check.changes(check))

    def whole(self) -> pb.State:
        """Return all of the last tick that was encoded. O(size)."""
        with self._turn:
            told = self._plan.whole(), self._picture.whole(), self._memory.whole()
            return self._state(0, *told, self._check.whole())

    def _state(self, base: int, plan: bytes, picture: bytes, memory: bytes, check: bytes) -> pb.State:
        return pb.State(
            major=MAJOR,
            leader=self._last.leader,
            term=max(0, self._last.reign.term),
            sequence=self._last.reign.sequence,
            base=base,
            plan=pb.Value(form=form_of(Plan), data=plan),
            picture=pb.Value(form=form_of(Picture), data=picture),
            memory=pb.Value(form=form_of(Memory), data=memory),
            check=pb.Value(form=form_of(CheckMemory), data=check),
        )


class StateDecoder:
    """Reads the states of one stream, in their order."""

    def __init__(self) -> None:
        self._sequence = 0
        self._plan, self._picture, self._memory = PartReader(Plan), PartReader(Picture), PartReader(Memory)
        self._check = PartReader(CheckMemory)

    def decided(self, message: pb.State) -> Decided:
        """Return a received tick.

        Raises CodecError for another major version, for bytes that are not what they say, and for changes to something
        else than what came last: a new stream begins with the whole.
        """
        _check_major(message.major)
        if message.base and message.base != self._sequence:
            raise CodecError(f"replica: found changes to state {message.base}, allowed: to {self._sequence}")
        self._sequence = message.sequence
        is_whole = message.base == 0
        plan = _taken(message.plan, Plan, self._plan, is_whole=is_whole)
        memory = _taken(message.memory, Memory, self._memory, is_whole=is_whole)
        if memory is not None and plan is not None and memory.plan.plan == Plan():
            memory = replace(memory, plan=replace(memory.plan, plan=plan))  # it is told once
        return Decided(
            leader=message.leader,
            reign=Reign(message.term, message.sequence),
            plan=plan,
            picture=_taken(message.picture, Picture, self._picture, is_whole=is_whole),
            memory=memory,
            check=_taken(message.check, CheckMemory, self._check, is_whole=is_whole),
            unread=tuple(name for name, kind in _KINDS.items() if getattr(message, name).form != form_of(kind)),
        )


def _taken(value: pb.Value, kind: type[T], reader: PartReader[T], *, is_whole: bool) -> T | None:
    return reader.take(value.data, is_whole=is_whole) if value.form == form_of(kind) else None


def report_message(replica: str, telemetry: Telemetry | None, asked: Asked, writer: AskedWriter) -> pb.Report:
    """Return what a follower's sidecars told it (None: nothing new) and ask it for, as it is sent.

    ``writer`` knows what was told of the latter. O(samples + subscriptions of who asks for something else).
    """
    told, changes = None if telemetry is None else _value(telemetry, Telemetry), writer.changes(asked)
    return pb.Report(major=MAJOR, replica=replica, telemetry=told, asked=sorted(services_of(asked)), sidecars=changes)


def reported(message: pb.Report, reader: AskedReader) -> tuple[Telemetry | None, Asked | None]:
    """Return a follower's telemetry, None where there is none or its types are others, and who asks it for what.

    Raises CodecError as ``decided_of`` does.
    """
    _check_major(message.major)
    asked = reader.take(message.sidecars) if message.HasField("sidecars") else None
    return _read(message.telemetry, Telemetry), asked


def _check_major(major: int) -> None:
    if major != MAJOR:
        raise CodecError(f"replica: found major version {major}, allowed: {MAJOR}")


def _value(value: object, kind: Any) -> pb.Value:
    return pb.Value(form=form_of(kind), data=encode(value, kind))


def _read(value: pb.Value, kind: type[T]) -> T | None:
    return decode(value.data, kind) if value.form == form_of(kind) else None
