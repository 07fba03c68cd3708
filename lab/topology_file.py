"""The lab's topology files: YAML text to a checked ``Application``, as strictly as a mesh file.

::

    apiVersion: askew.lab/v1
    nodes: [n1, n2]
    load: {service: front, requests_per_s: 50, mix: {get: 1}, nodes: {n1: 2, n2: 1}, containers: 1}
                                              # weights, made to sum to 1; so many senders on each of the nodes
    services:
      - name: front
        port: 8080
        workers: 8                                                      # requests served at once; the rest wait in line
        service_time: {distribution: lognormal, mean_ms: 4, cv: 0.5}    # fixed | exponential | lognormal
        response_bytes: 2000
        replicas:
          - {nodes: {n1: 2, n2: 1}, version: v1, leaf: false, capacity: 1.0}
        operations:                                                     # steps in a row; a step in parallel
          get: [[{to: a}, {to: b, operation: read, times: 2}], [{to: c, probability: 0.5}]]

A service without ``operations`` has one, ``get``, that calls nobody. ``operation`` may be left out where the called
service has only one. Operations may call each other in any way but round in a circle.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib import resources
from pathlib import Path

from lab.application import (
    DISTRIBUTIONS,
    Application,
    AppService,
    Load,
    OperationCall,
    ReplicaGroup,
    ServiceTime,
    Step,
    calls_of,
)
from lab.errors import LabError
from mesh.document import Fields, integer, load_document, matching, number, one_of, read_list
from mesh.errors import BadInputError

API_VERSION = "askew.lab/v1"
APP_PORT = 10080  # where every app listens behind its sidecar; addresses differ, so one port suits all
LOAD_SERVICE = "load"
MOST_NODES = 9
_TAKEN_PORTS = (APP_PORT, 15001, 15090)

_label = matching(r"[a-z0-9]([-a-z0-9]{0,39}[a-z0-9])?", "lower-case letters, digits and dashes, at most 41")
_yes_or_no = one_of((True, False))
_weight = number(0.0, 1e9, above=True, allowed="a number > 0 and <= 1e9")


def names() -> tuple[str, ...]:
    """Return the names of the applications that are shipped.

    >>> "bookinfo" in names()
    True
    """
    files = (entry.name for entry in resources.files("lab.topologies").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


def shipped_file(name: str) -> Path:
    """Return the topology file of a shipped application. Raises LabError, which lists the names, for another."""
    if name not in names():
        raise LabError(f"application: found {name!r}, allowed: {' | '.join(names())}")
    return Path(str(resources.files("lab.topologies").joinpath(f"{name}.yaml")))


def load_application(file: Path) -> Application:
    """Return the application that ``file`` describes. Raises BadInputError as ``parse_application`` does."""
    return parse_application(file.read_text("utf-8"), name=file.stem)


def parse_application(text: str, *, name: str) -> Application:
    """Return the application that a topology file describes.

    Raises
    ------
    BadInputError
        names the place in the file, what was found there and what is allowed.
    """
    top = Fields(load_document(text), "", allowed=("apiVersion", "nodes", "load", "services"))
    top.take("apiVersion", one_of((API_VERSION,)))
    nodes = top.items("nodes", _label)
    if not 1 <= len(nodes) <= MOST_NODES or len(set(nodes)) != len(nodes):
        raise BadInputError("nodes", list(nodes), f"1 to {MOST_NODES} names, each once")
    services = top.items("services", partial(_service, nodes=nodes))
    if len({service.name for service in services}) != len(services):
        raise BadInputError("services", "a name twice", "each service once")
    services = tuple(_with_default_operations(service, services) for service in services)
    application = Application(name, nodes, top.take("load", partial(_load, nodes=nodes)), services)
    _check_entry(application)
    _refuse_circles(application)
    return application


def _service(value: object, path: str, *, nodes: tuple[str, ...]) -> AppService:
    keys = ("name", "port", "workers", "service_time", "response_bytes", "replicas", "operations")
    fields = Fields(value, path, allowed=keys)
    port = fields.take("port", integer(1, 65535))
    if port in _TAKEN_PORTS:
        raise BadInputError(fields.at("port"), port, f"a port other than {_TAKEN_PORTS}, which the lab uses itself")
    name = fields.take("name", _label)
    if name == LOAD_SERVICE:
        raise BadInputError(fields.at("name"), name, "another name: the load has this one")
    return AppService(
        name=name,
        port=port,
        replicas=fields.items("replicas", partial(_replica_group, nodes=nodes)),
        operations=fields.take("operations", _operations, {"get": ()}),
        workers=fields.take("workers", integer(1, 10_000), 8),
        service_time=fields.take("service_time", _service_time, ServiceTime()),
        response_bytes=fields.take("response_bytes", integer(0, 10_000_000), 1000),
    )


def _service_time(value: object, path: str) -> ServiceTime:
    fields = Fields(value, path, allowed=("distribution", "mean_ms", "cv"))
    return ServiceTime(
        distribution=fields.take("distribution", one_of(DISTRIBUTIONS)),
        mean_ms=fields.take("mean_ms", number(0.0, 60_000.0, allowed="milliseconds from 0 to 60000")),
        cv=fields.take("cv", number(0.0, 10.0, allowed="a number from 0 to 10"), 1.0),
    )


def _replica_group(value: object, path: str, *, nodes: tuple[str, ...]) -> ReplicaGroup:
    fields = Fields(value, path, allowed=("nodes", "version", "leaf", "capacity"))
    counts = Fields(fields.value.get("nodes"), fields.at("nodes"), allowed=nodes)
    per_node = {str(node): counts.take(str(node), integer(0, 100)) for node in counts.value}
    return ReplicaGroup(
        per_node=per_node,
        version=fields.take("version", _label, ""),
        leaf=fields.take("leaf", _yes_or_no, False),
        capacity=fields.take("capacity", _weight, 1.0),
    )


def _operations(value: object, path: str) -> Mapping[str, tuple[Step, ...]]:
    if not isinstance(value, dict) or not value:
        raise BadInputError(path, value, "a mapping of operations to their steps")
    operations = {}
    for name, steps in value.items():
        _label(name, path)
        operations[name] = tuple(
            read_list(steps, f"{path}.{name}", lambda step, at: tuple(read_list(step, at, _operation_call)))
        )
    return operations


def _operation_call(value: object, path: str) -> OperationCall:
    fields = Fields(value, path, allowed=("to", "operation", "times", "probability"))
    probability = number(0.0, 1.0, above=True, allowed="a number > 0 and <= 1")
    return OperationCall(
        service=fields.take("to", _label),
        operation=fields.take("operation", _label, ""),
        times=fields.take("times", integer(1, 1000), 1),
        probability=fields.take("probability", probability, 1.0),
    )


def _load(value: object, path: str, *, nodes: tuple[str, ...]) -> Load:
    fields = Fields(value, path, allowed=("service", "requests_per_s", "mix", "nodes", "containers"))
    for key in ("mix", "nodes"):
        if not isinstance(fields.value.get(key), dict) or not fields.value[key]:
            raise BadInputError(fields.at(key), fields.value.get(key), "a mapping of names to weights")
    return Load(
        service=fields.take("service", _label),
        requests_per_s=fields.take("requests_per_s", _weight),
        mix=fields.take("mix", partial(_fractions, allowed=tuple(map(str, fields.value["mix"])))),
        nodes=fields.take("nodes", partial(_fractions, allowed=nodes)),
        containers=fields.take("containers", integer(1, 100), 1),
    )


def _fractions(value: object, path: str, *, allowed: tuple[str, ...]) -> Mapping[str, float]:
    fields = Fields(value, path, allowed=allowed)
    weights = {_label(name, path): fields.take(name, _weight) for name in fields.value}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _with_default_operations(service: AppService, services: tuple[AppService, ...]) -> AppService:
    """Return ``service`` with every call checked, and its operation named where the file left it out."""
    known = {other.name: other for other in services}
    path = f"services[{services.index(service)}].operations"

    def complete(call: OperationCall, at: str) -> OperationCall:
        if call.service not in known:
            raise BadInputError(f"{at}.to", call.service, "a service of this file: " + ", ".join(known))
        operations = known[call.service].operations
        if not call.operation and len(operations) == 1:
            return OperationCall(call.service, next(iter(operations)), call.times, call.probability)
        if call.operation not in operations:
            raise BadInputError(f"{at}.operation", call.operation or None, "one of " + ", ".join(operations))
        return call

    operations = {
        name: tuple(
            tuple(complete(call, f"{path}.{name}[{i}][{j}]") for j, call in enumerate(step))
            for i, step in enumerate(steps)
        )
        for name, steps in service.operations.items()
    }
    return AppService(
        service.name,
        service.port,
        service.replicas,
        operations,
        service.workers,
        service.service_time,
        service.response_bytes,
    )


def _check_entry(application: Application) -> None:
    load = application.load
    if load.service not in application.service_by_name:
        raise BadInputError("load.service", load.service, "one of " + ", ".join(application.service_by_name))
    operations = application.service_by_name[load.service].operations
    for name in load.mix:
        if name not in operations:
            raise BadInputError("load.mix", name, "operations of the entry service: " + ", ".join(operations))
    for index, service in enumerate(application.services):
        replicas = application.replicas_of[service.name]
        if not replicas or len({replica.name for replica in replicas}) != len(replicas):
            raise BadInputError(f"services[{index}].replicas", service.name, "one replica or more, versions differ")


def _refuse_circles(application: Application) -> None:
    done: set[tuple[str, str]] = set()

    def visit(service: str, operation: str, way: tuple[tuple[str, str], ...]) -> None:
        here = (service, operation)
        if here in way:
            circle = " -> ".join(f"{name}/{called}" for name, called in (*way[way.index(here) :], here))
            raise BadInputError("services", circle, "operations that do not call round in a circle")
        if here in done:
            return
        for call in calls_of(application.service_by_name[service].operations[operation]):
            visit(call.service, call.operation, (*way, here))
        done.add(here)

    for service in application.services:
        for operation in service.operations:
            visit(service.name, operation, ())
