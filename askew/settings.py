"""Settings of the control plane: flags, then ``ASKEW_<SECTION>_<KEY>``, then the file. Composed once, at the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from askew.errors import CommandError
from askew.pod_placing import SchedulerSettings
from askew.replication.settings import ReplicationSettings
from istio.integration import Integration
from istio.settings import KubernetesSettings
from istio.watchdog import WatchdogSettings
from mesh.document import load_document
from mesh.errors import BadInputError, one_line, shown
from xds_server.ingest.settings import IngestSettings
from xds_server.settings import XdsSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP port: debug pages, metrics, health."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback, because the debug pages tell all."""

    port: int = 18080
    """TCP port; 0 takes a free one."""

    token_file: str = ""
    """Holds the bearer token with which others than this machine may read the pages; empty: they may not."""

    mtls_host: str = ""
    """Address of the mTLS port: the scheduler's extender and REST discovery. Empty: with ``--kubernetes`` the host of
    ``xds``, if that has a certificate; else the port is off."""

    mtls_port: int = 18443
    """Its TCP port; 0 takes a free one."""

    mtls_certificate_file: str = ""
    """Its certificate chain (PEM); empty: the three files of ``xds``."""

    mtls_key_file: str = ""
    """Its key (PEM, not encrypted)."""

    mtls_client_ca_file: str = ""
    """The authorities (PEM) of its clients."""

    mtls_requests_at_once: int = 256
    """Requests of one certificate that may be under way; 0: any."""

    mtls_requests_per_s: float = 1000.0
    """Requests of one certificate a second, twice as many at once; kube-scheduler asks one for each pod. 0: any."""


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """The control loop."""

    tick_s: float = 5.0
    """Seconds between two ticks (Imbres shifts load every 5 s)."""

    debounce_s: float = 0.1
    """A change of the mesh waits for this long a quiet; a change of endpoints only does not wait."""

    debounce_longest_s: float = 10.0
    """However restless the mesh is, a change waits no longer than this."""


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """The mesh file as a source."""

    poll_s: float = 0.05
    """How often the mesh file is looked at; a change is on the wire within a second."""


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """What survives a restart of the control plane."""

    file: str = ""
    """Holds performance tables, the targets in force and who calls whom; empty: a restart starts from nothing."""

    save_s: float = 60.0
    """How often it is saved, besides at the end; what is lost by a crash is learnt anew as fast."""


@dataclass(frozen=True, slots=True)
class PrometheusSourceSettings:
    """A Prometheus that scrapes Istio's sidecars, or what speaks its query API."""

    url: str = ""
    """With any prefix, without ``/api/v1``; empty: none is asked."""

    interval_s: float = 0.0
    """How often it is asked for what sidecars do not tell themselves; 0 for never."""

    backfill_h: float = 0.0
    """Hours of the past that performance tables learn at the start; 0 for none."""

    flow_window_s: float = 300.0
    """Over how long the bytes between services, and of pods, are a mean, at least four scrapes; 0: not asked for."""

    deadline_s: float = 10.0
    """Of one query."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What agents tell of nodes: how busy they are, or read on this machine, and whose bytes their containers carry."""

    interval_s: float = 5.0
    """How often; 0 for never."""

    deadline_s: float = 2.0
    """Of one agent's answer."""

    this_machine: bool = False
    """Whether all nodes without an agent are this machine (a lab), so that its ``/proc`` tells."""

    certificate_file: str = ""
    """Shown to agents (PEM); empty: they are spoken to in plaintext."""

    key_file: str = ""
    """Its key (PEM, not encrypted)."""

    ca_file: str = ""
    """The authorities (PEM) of the agents' certificates."""

    agent_name: str = ""
    """The DNS name that their certificates have; empty: the host of their address, which on Kubernetes is a pod's."""

    measure_per_minute: int = 6
    """How many containers at most are measured a minute for links that nobody else tells; 0 for none."""

    measure_s: float = 5.0
    """For how long a container is watched then."""

    agent_label: str = "app.kubernetes.io/name=askew-enforcer"
    """On Kubernetes: the label of the agents' pods, in ``watchdog.namespace``."""

    agent_port: int = 18100
    """On Kubernetes: the agents' gRPC port."""


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """All settings of ``askew serve``, by section."""

    xds: XdsSettings = field(default_factory=XdsSettings)
    ingest: IngestSettings = field(default_factory=IngestSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    source: SourceSettings = field(default_factory=SourceSettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    replication: ReplicationSettings = field(default_factory=ReplicationSettings)
    prometheus: PrometheusSourceSettings = field(default_factory=PrometheusSourceSettings)
    nodes: NodeSettings = field(default_factory=NodeSettings)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    istio: Integration = field(default_factory=Integration)
    watchdog: WatchdogSettings = field(default_factory=WatchdogSettings)


def compose(*, file_text: str | None, environment: Mapping[str, str]) -> ServeSettings:
    """Return the control plane's settings. Raises as :func:`compose_over` does."""
    return compose_over(ServeSettings(), file_text=file_text, environment=environment)


def compose_over(settings: T, *, file_text: str | None, environment: Mapping[str, str]) -> T:
    """Return ``settings`` with a file's text (or none) and an environment over them; the caller lays flags over it.

    Each field of ``settings`` is a section: a dataclass of numbers, texts and truths.

    Raises
    ------
    BadInputError
        for an unknown section or key of the file, or a value of the wrong kind.
    CommandError
        for a value of the environment.
    """
    sections = _sections(file_text, [section.name for section in fields(settings)])  # type: ignore[arg-type]
    for section in fields(settings):  # type: ignore[arg-type]
        current = getattr(settings, section.name)
        current = _from_file(current, section.name, sections.get(section.name, {}))
        current = _from_environment(current, section.name, environment)
        settings = replace(settings, **{section.name: current})  # type: ignore[type-var]
    return settings


def _sections(file_text: str | None, names: list[str]) -> dict[str, Any]:
    document = {} if file_text is None else load_document(file_text)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise BadInputError("", document, "a mapping with the sections " + ", ".join(names))
    for name in document:
        if name not in names:
            raise BadInputError(str(name), name, "the sections " + ", ".join(names))
    return document


def _from_file(current: T, section: str, values: object) -> T:
    known = {f.name: f for f in fields(current)}  # type: ignore[arg-type]
    if not isinstance(values, dict):
        raise BadInputError(section, values, "a mapping with the keys " + ", ".join(known))
    for key, value in values.items():
        if key not in known:
            raise BadInputError(f"{section}.{key}", key, "the keys " + ", ".join(known))
        default = getattr(current, key)
        if not _fits(value, default) or _out_of_range(key, value):
            raise BadInputError(f"{section}.{key}", value, _allowed(key, default))
        current = replace(current, **{key: type(default)(value)})  # type: ignore[type-var]
    return current


def _from_environment(current: T, section: str, environment: Mapping[str, str]) -> T:
    for known in fields(current):  # type: ignore[arg-type]
        name = variable_of(section, known.name)
        if name not in environment or is_service_link(name, environment[name]):
            continue
        default = getattr(current, known.name)
        try:
            value = _read(environment[name], default)
        except ValueError:
            value = None
        if value is None or _out_of_range(known.name, value):
            allowed = _allowed(known.name, default)
            raise CommandError(one_line(f"{name}: found {shown(environment[name])}, allowed: {allowed}"))
        current = replace(current, **{known.name: value})  # type: ignore[type-var]
    return current


def variable_of(section: str, key: str) -> str:
    """Return the name that a setting has in the environment.

    >>> variable_of("xds", "port")
    'ASKEW_XDS_PORT'
    """
    return f"ASKEW_{section}_{key}".upper()


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes wrote this: to pods of its namespace a Service ``askew-http`` is ``ASKEW_HTTP_PORT=tcp://…``."""
    return name.endswith("_PORT") and value.startswith(("tcp://", "udp://", "sctp://"))


def _fits(value: object, default: object) -> bool:
    """Whether a value of the file is of the default's kind. To Python a bool is an int; here it is not."""
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    return isinstance(value, type(default)) or (isinstance(default, float) and isinstance(value, int))


def _read(text: str, default: object) -> Any:
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    return type(default)(text)  # type: ignore[call-arg]


def _is_port(key: str) -> bool:
    return key == "port" or key.endswith("_port")


def _out_of_range(key: str, value: object) -> bool:
    return isinstance(value, (int, float)) and not 0 <= value < (65536 if _is_port(key) else 1e15)


def _allowed(key: str, default: object) -> str:
    if isinstance(default, bool):
        return "true or false"
    if _is_port(key):
        return "a port from 0 to 65535"
    if isinstance(default, int):
        return "an integer >= 0"
    return "a number >= 0" if isinstance(default, float) else "a string"
