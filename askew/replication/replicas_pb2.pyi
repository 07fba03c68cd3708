from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Value(_message.Message):
    __slots__ = ("form", "data")
    FORM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    form: str
    data: bytes
    def __init__(self, form: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("major", "replica", "telemetry", "asked", "sidecars")
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    SIDECARS_FIELD_NUMBER: _ClassVar[int]
    major: int
    replica: str
    telemetry: Value
    asked: _containers.RepeatedScalarFieldContainer[str]
    sidecars: Asked
    def __init__(self, major: _Optional[int] = ..., replica: _Optional[str] = ..., telemetry: _Optional[_Union[Value, _Mapping]] = ..., asked: _Optional[_Iterable[str]] = ..., sidecars: _Optional[_Union[Asked, _Mapping]] = ...) -> None: ...

class Asked(_message.Message):
    __slots__ = ("groups",)
    class Group(_message.Message):
        __slots__ = ("services", "sidecars")
        SERVICES_FIELD_NUMBER: _ClassVar[int]
        SIDECARS_FIELD_NUMBER: _ClassVar[int]
        services: _containers.RepeatedScalarFieldContainer[str]
        sidecars: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, services: _Optional[_Iterable[str]] = ..., sidecars: _Optional[_Iterable[str]] = ...) -> None: ...
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[Asked.Group]
    def __init__(self, groups: _Optional[_Iterable[_Union[Asked.Group, _Mapping]]] = ...) -> None: ...

class State(_message.Message):
    __slots__ = ("major", "leader", "term", "sequence", "plan", "picture", "memory", "base", "check")
    MAJOR_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    major: int
    leader: str
    term: int
    sequence: int
    plan: Value
    picture: Value
    memory: Value
    base: int
    check: Value
    def __init__(self, major: _Optional[int] = ..., leader: _Optional[str] = ..., term: _Optional[int] = ..., sequence: _Optional[int] = ..., plan: _Optional[_Union[Value, _Mapping]] = ..., picture: _Optional[_Union[Value, _Mapping]] = ..., memory: _Optional[_Union[Value, _Mapping]] = ..., base: _Optional[int] = ..., check: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...
