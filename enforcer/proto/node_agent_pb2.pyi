from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    APPLIED: _ClassVar[Outcome]
    UNCHANGED: _ClassVar[Outcome]
    UNSUPPORTED: _ClassVar[Outcome]
    REFUSED: _ClassVar[Outcome]
    FAILED: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
APPLIED: Outcome
UNCHANGED: Outcome
UNSUPPORTED: Outcome
REFUSED: Outcome
FAILED: Outcome

class Action(_message.Message):
    __slots__ = ("container", "resource", "number", "cpus", "unit")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    container: str
    resource: str
    number: float
    cpus: str
    unit: str
    def __init__(self, container: _Optional[str] = ..., resource: _Optional[str] = ..., number: _Optional[float] = ..., cpus: _Optional[str] = ..., unit: _Optional[str] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("generation", "ttl_s", "actions", "dry_run")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    generation: int
    ttl_s: float
    actions: _containers.RepeatedCompositeFieldContainer[Action]
    dry_run: bool
    def __init__(self, generation: _Optional[int] = ..., ttl_s: _Optional[float] = ..., actions: _Optional[_Iterable[_Union[Action, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class Write(_message.Message):
    __slots__ = ("path", "before", "after")
    PATH_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    path: str
    before: str
    after: str
    def __init__(self, path: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("container", "resource", "outcome", "detail", "writes")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    container: str
    resource: str
    outcome: Outcome
    detail: str
    writes: _containers.RepeatedCompositeFieldContainer[Write]
    def __init__(self, container: _Optional[str] = ..., resource: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., detail: _Optional[str] = ..., writes: _Optional[_Iterable[_Union[Write, _Mapping]]] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("generation", "results")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    generation: int
    results: _containers.RepeatedCompositeFieldContainer[Result]
    def __init__(self, generation: _Optional[int] = ..., results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HeldAction(_message.Message):
    __slots__ = ("action", "generation", "expires_in_s")
    ACTION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_S_FIELD_NUMBER: _ClassVar[int]
    action: Action
    generation: int
    expires_in_s: float
    def __init__(self, action: _Optional[_Union[Action, _Mapping]] = ..., generation: _Optional[int] = ..., expires_in_s: _Optional[float] = ...) -> None: ...

class Migration(_message.Message):
    __slots__ = ("container", "reason", "certain")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CERTAIN_FIELD_NUMBER: _ClassVar[int]
    container: str
    reason: str
    certain: bool
    def __init__(self, container: _Optional[str] = ..., reason: _Optional[str] = ..., certain: _Optional[bool] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("node", "role", "dry_run", "generation", "capabilities", "actions", "conflicts", "migrations", "containers_generation")
    class CapabilitiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    MIGRATIONS_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_GENERATION_FIELD_NUMBER: _ClassVar[int]
    node: str
    role: str
    dry_run: bool
    generation: int
    capabilities: _containers.ScalarMap[str, str]
    actions: _containers.RepeatedCompositeFieldContainer[HeldAction]
    conflicts: _containers.RepeatedScalarFieldContainer[str]
    migrations: _containers.RepeatedCompositeFieldContainer[Migration]
    containers_generation: int
    def __init__(self, node: _Optional[str] = ..., role: _Optional[str] = ..., dry_run: _Optional[bool] = ..., generation: _Optional[int] = ..., capabilities: _Optional[_Mapping[str, str]] = ..., actions: _Optional[_Iterable[_Union[HeldAction, _Mapping]]] = ..., conflicts: _Optional[_Iterable[str]] = ..., migrations: _Optional[_Iterable[_Union[Migration, _Mapping]]] = ..., containers_generation: _Optional[int] = ...) -> None: ...

class RevertRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RevertResponse(_message.Message):
    __slots__ = ("writes", "conflicts", "failed")
    WRITES_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    writes: _containers.RepeatedCompositeFieldContainer[Write]
    conflicts: _containers.RepeatedScalarFieldContainer[str]
    failed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, writes: _Optional[_Iterable[_Union[Write, _Mapping]]] = ..., conflicts: _Optional[_Iterable[str]] = ..., failed: _Optional[_Iterable[str]] = ...) -> None: ...

class MeasureRequest(_message.Message):
    __slots__ = ("container", "method", "limit_s")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    LIMIT_S_FIELD_NUMBER: _ClassVar[int]
    container: str
    method: str
    limit_s: float
    def __init__(self, container: _Optional[str] = ..., method: _Optional[str] = ..., limit_s: _Optional[float] = ...) -> None: ...

class LinkBytes(_message.Message):
    __slots__ = ("peer", "port", "side", "bytes_sent", "bytes_received", "connections")
    PEER_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    peer: str
    port: int
    side: str
    bytes_sent: int
    bytes_received: int
    connections: int
    def __init__(self, peer: _Optional[str] = ..., port: _Optional[int] = ..., side: _Optional[str] = ..., bytes_sent: _Optional[int] = ..., bytes_received: _Optional[int] = ..., connections: _Optional[int] = ...) -> None: ...

class Unmeasured(_message.Message):
    __slots__ = ("method", "reason")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    method: str
    reason: str
    def __init__(self, method: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class MeasureResponse(_message.Message):
    __slots__ = ("method", "window_s", "complete", "cost_cpu_s", "links", "notes", "passed_over")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    WINDOW_S_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    COST_CPU_S_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    PASSED_OVER_FIELD_NUMBER: _ClassVar[int]
    method: str
    window_s: float
    complete: bool
    cost_cpu_s: float
    links: _containers.RepeatedCompositeFieldContainer[LinkBytes]
    notes: _containers.RepeatedScalarFieldContainer[str]
    passed_over: _containers.RepeatedCompositeFieldContainer[Unmeasured]
    def __init__(self, method: _Optional[str] = ..., window_s: _Optional[float] = ..., complete: _Optional[bool] = ..., cost_cpu_s: _Optional[float] = ..., links: _Optional[_Iterable[_Union[LinkBytes, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ..., passed_over: _Optional[_Iterable[_Union[Unmeasured, _Mapping]]] = ...) -> None: ...

class ObserveRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ContainerCounters(_message.Message):
    __slots__ = ("container", "cpu_s", "memory_bytes", "receive_bytes", "transmit_bytes")
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    CPU_S_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRANSMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    container: str
    cpu_s: float
    memory_bytes: int
    receive_bytes: int
    transmit_bytes: int
    def __init__(self, container: _Optional[str] = ..., cpu_s: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., receive_bytes: _Optional[int] = ..., transmit_bytes: _Optional[int] = ...) -> None: ...

class ObserveResponse(_message.Message):
    __slots__ = ("time_s", "busy_cpu_s", "cpus", "memory_used_bytes", "pressure_s", "memory_moved_bytes", "cache_used_bytes", "containers")
    class PressureSEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TIME_S_FIELD_NUMBER: _ClassVar[int]
    BUSY_CPU_S_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_S_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MOVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    CACHE_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    time_s: float
    busy_cpu_s: float
    cpus: int
    memory_used_bytes: int
    pressure_s: _containers.ScalarMap[str, float]
    memory_moved_bytes: int
    cache_used_bytes: int
    containers: _containers.RepeatedCompositeFieldContainer[ContainerCounters]
    def __init__(self, time_s: _Optional[float] = ..., busy_cpu_s: _Optional[float] = ..., cpus: _Optional[int] = ..., memory_used_bytes: _Optional[int] = ..., pressure_s: _Optional[_Mapping[str, float]] = ..., memory_moved_bytes: _Optional[int] = ..., cache_used_bytes: _Optional[int] = ..., containers: _Optional[_Iterable[_Union[ContainerCounters, _Mapping]]] = ...) -> None: ...

class ListedContainer(_message.Message):
    __slots__ = ("name", "cgroup", "pid", "container_class", "target_ms", "percentile", "latency")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_CLASS_FIELD_NUMBER: _ClassVar[int]
    TARGET_MS_FIELD_NUMBER: _ClassVar[int]
    PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    name: str
    cgroup: str
    pid: int
    container_class: str
    target_ms: float
    percentile: float
    latency: str
    def __init__(self, name: _Optional[str] = ..., cgroup: _Optional[str] = ..., pid: _Optional[int] = ..., container_class: _Optional[str] = ..., target_ms: _Optional[float] = ..., percentile: _Optional[float] = ..., latency: _Optional[str] = ...) -> None: ...

class SetContainersRequest(_message.Message):
    __slots__ = ("node", "generation", "containers")
    NODE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    node: str
    generation: int
    containers: _containers.RepeatedCompositeFieldContainer[ListedContainer]
    def __init__(self, node: _Optional[str] = ..., generation: _Optional[int] = ..., containers: _Optional[_Iterable[_Union[ListedContainer, _Mapping]]] = ...) -> None: ...

class SetContainersResponse(_message.Message):
    __slots__ = ("containers", "ended")
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    containers: int
    ended: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, containers: _Optional[int] = ..., ended: _Optional[_Iterable[str]] = ...) -> None: ...
