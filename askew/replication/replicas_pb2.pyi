from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar

from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message

DESCRIPTOR: _descriptor.FileDescriptor

class Value(_message.Message):
    __slots__ = ("data", "form")
    FORM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    form: str
    data: bytes
    def __init__(self, form: str | None = ..., data: bytes | None = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("major", "replica", "telemetry")
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    major: int
    replica: str
    telemetry: Value
    def __init__(
        self,
        major: int | None = ...,
        replica: str | None = ...,
        telemetry: Value | _Mapping | None = ...,
    ) -> None: ...

class State(_message.Message):
    __slots__ = ("leader", "major", "memory", "picture", "plan", "sequence", "term")
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    major: int
    leader: str
    term: int
    sequence: int
    plan: Value
    picture: Value
    memory: Value
    def __init__(
        self,
        major: int | None = ...,
        leader: str | None = ...,
        term: int | None = ...,
        sequence: int | None = ...,
        plan: Value | _Mapping | None = ...,
        picture: Value | _Mapping | None = ...,
        memory: Value | _Mapping | None = ...,
    ) -> None: ...
