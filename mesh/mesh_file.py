"""The mesh file: YAML or JSON text to a checked ``Topology``. Every key is known, every name exists, or it is refused.

The format is described in ``docs/mesh-file.md``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from mesh.document import Fields, integer, load_document, matching, number, one_of
from mesh.errors import NO_SUCH_KEY, BadInputError
from mesh.listeners import refuse_clashes
from mesh.policy import UNMANAGED, Policy, parse_policy
from mesh.topology import (
    PROTOCOLS,
    Call,
    ClientRate,
    Container,
    ContainerName,
    Node,
    NodeName,
    Port,
    Protocol,
    Service,
    ServiceName,
    Topology,
)

API_VERSION = "askew.mesh/v1"

_label = matching(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "lower-case letters, digits and dashes, at most 63")
_name = matching(
    r"[A-Za-z0-9]([-._A-Za-z0-9]{0,251}[A-Za-z0-9])?", "letters, digits, dots, dashes, underscores, at most 253"
)
_place = matching(r"[-._/A-Za-z0-9]{0,253}", "letters, digits, dots, dashes, underscores, slashes, at most 253")
_agent = matching(r"(\[[0-9A-Fa-f:.]{2,45}\]|[-.A-Za-z0-9]{1,253}):[0-9]{1,5}", "HOST:PORT")
_port = integer(1, 65535)
_capacity = number(0.0, 1e9, above=True, allowed="a number > 0 and <= 1e9")
_rate = number(0.0, 1e12, allowed="a number >= 0 and <= 1e12")
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_service_reference = matching(rf"{_LABEL}(\.{_LABEL})?", "a service's name, or name.namespace")


def parse_mesh_file(text: str) -> Topology:
    """Return the topology that a mesh file describes.

    Raises
    ------
    BadInputError
        names the place in the file, what was found there and what is allowed.

    Examples
    --------
    >>> parse_mesh_file("{apiVersion: askew.mesh/v1, nodes: [{name: n1}], services: []}").nodes[0].name
    'n1'
    """
    top = Fields(load_document(text), "", allowed=("apiVersion", "nodes", "services", "calls", "rates"))
    top.take("apiVersion", one_of((API_VERSION,)))
    nodes = top.items("nodes", _node)
    _refuse_twice([node.name for node in nodes], "nodes[{}].name", "node")
    node_names = frozenset(node.name for node in nodes)
    services = top.items("services", lambda value, path: _service(value, path, node_names))
    _check_unique(services)
    known = {service.name: service for service in services}
    calls = None
    if "calls" in top:
        calls = top.items("calls", lambda value, path: _call(value, path, known))
    topology = Topology(nodes=nodes, services=services, calls=calls)
    refuse_clashes(topology)
    rates = top.items("rates", lambda value, path: _client_rate(value, path, topology), ())
    _refuse_twice([f"{rate.client} to {rate.service}" for rate in rates], "rates[{}]", "pair of client and service")
    return Topology(nodes=nodes, services=services, calls=calls, rates=rates)


def _node(value: object, path: str) -> Node:
    fields = Fields(value, path, allowed=("name", "zone", "region", "agent"))
    return Node(
        name=NodeName(fields.take("name", _name)),
        zone=fields.take("zone", _place, ""),
        region=fields.take("region", _place, ""),
        agent=fields.take("agent", _agent, ""),
    )


def _service(value: object, path: str, nodes: frozenset[NodeName]) -> Service:
    keys = ("name", "namespace", "port", "protocol", "outbound_port", "ports", "annotations", "containers")
    fields = Fields(value, path, allowed=keys)
    name = ServiceName(fields.take("name", _label) + "." + fields.take("namespace", _label, "default"))
    ports = _ports(fields)
    policy = fields.take("annotations", _policy, UNMANAGED)
    if policy.programming == "weighted-clusters" and any(port.protocol == "tcp" for port in ports):
        where = fields.at("annotations") + "[askew.mesh/programming]"
        raise BadInputError(where, "weighted-clusters", "endpoint-weights (a port's protocol is tcp)")
    containers = fields.items("containers", lambda item, at: _container(item, at, name, ports, nodes), ())
    return Service(name=name, ports=ports, policy=policy, containers=containers)


def _policy(value: object, path: str) -> Policy:
    if not isinstance(value, dict):
        raise BadInputError(path, value, "a mapping of annotations")
    for key in value:
        if not isinstance(key, str):
            raise BadInputError(path, key, "keys that are strings")
    return parse_policy({key: _annotation_text(one) for key, one in value.items()}, path=path)


def _annotation_text(value: object) -> object:
    """Return a number as the text that an annotation is on Kubernetes; anything else as it is."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return str(value) if is_number and abs(value) < 10**15 else value  # type: ignore[arg-type]


def _ports(fields: Fields) -> tuple[Port, ...]:
    if "ports" in fields:
        for key in ("port", "protocol", "outbound_port"):
            if key in fields:
                raise BadInputError(
                    fields.at(key), fields.value[key], "either ports, or port, protocol and outbound_port"
                )
        ports = fields.items("ports", _named_port)
        _refuse_twice([port.number for port in ports], fields.path + ".ports[{}].port", "port")
        _refuse_twice([port.name for port in ports], fields.path + ".ports[{}].name", "port name")
        return ports
    if "port" not in fields:
        for key in ("protocol", "outbound_port"):
            if key in fields:
                raise BadInputError(fields.at(key), fields.value[key], "only beside port")
        return ()
    return (_port_of(fields, name=""),)


def _named_port(value: object, path: str) -> Port:
    fields = Fields(value, path, allowed=("name", "port", "protocol", "outbound_port"))
    return _port_of(fields, name=fields.take("name", _label))


def _port_of(fields: Fields, *, name: str) -> Port:
    protocol: Protocol = fields.take("protocol", one_of(PROTOCOLS), "http")
    outbound_port = fields.take("outbound_port", _port, 0)
    if protocol == "tcp" and not outbound_port:
        raise BadInputError(fields.at("outbound_port"), NO_SUCH_KEY, "a port, where clients' sidecars listen for it")
    if protocol != "tcp" and outbound_port:
        raise BadInputError(fields.at("outbound_port"), outbound_port, "only with protocol tcp")
    return Port(number=fields.take("port", _port), protocol=protocol, name=name, outbound_port=outbound_port)


def _container(
    value: object, path: str, service: ServiceName, ports: tuple[Port, ...], nodes: frozenset[NodeName]
) -> Container:
    keys = ("name", "node", "address", "port", "app_port", "ports", "app_ports", "capacity", "outbound_port")
    fields = Fields(value, path, allowed=keys)
    node = NodeName(fields.take("node", _name))
    if node not in nodes:
        raise BadInputError(fields.at("node"), node, "a name in nodes: " + _few(sorted(nodes)))
    return Container(
        name=ContainerName(fields.take("name", _name)),
        service=service,
        node=node,
        address=fields.take("address", _address),
        ports={port.number: port.number for port in ports} | _port_map(fields, "port", "ports", ports),
        app_ports=_port_map(fields, "app_port", "app_ports", ports),
        capacity=fields.take("capacity", _capacity, 1.0),
        outbound_port=fields.take("outbound_port", _port, 15001),
    )


def _port_map(fields: Fields, single: str, several: str, ports: tuple[Port, ...]) -> dict[int, int]:
    """Read ``port: 80`` (a service of one port) or ``ports: {http: 80}`` (by the service's port names)."""
    if single in fields:
        if len(ports) != 1:
            allowed = "only where the service has one port" + (f" (use {several} here)" if ports else "")
            raise BadInputError(fields.at(single), fields.value[single], allowed)
        if several in fields:
            raise BadInputError(fields.at(several), fields.value[several], f"either {single} or {several}")
        return {ports[0].number: fields.take(single, _port)}
    if several not in fields:
        return {}
    by_name = {port.name: port.number for port in ports if port.name}
    if not by_name:
        raise BadInputError(fields.at(several), fields.value[several], "only where the service has named ports")
    inner = Fields(fields.value[several], fields.at(several), allowed=tuple(by_name))
    return {by_name[name]: inner.take(name, _port) for name in inner.value}


def _address(value: object, path: str) -> str:
    allowed = "an IPv4 or IPv6 address (quote it)"
    if not isinstance(value, str) or "%" in value:
        raise BadInputError(path, value, allowed)
    try:
        address = ipaddress.ip_address(value)
    except ValueError as error:
        raise BadInputError(path, value, allowed) from error
    if address.is_unspecified or address.is_multicast:
        raise BadInputError(path, value, "the address of one container")
    return str(address)


def _full_name(value: object, path: str) -> ServiceName:
    name = _service_reference(value, path)
    return ServiceName(name if "." in name else name + ".default")


def _call(value: object, path: str, services: Mapping[ServiceName, Service]) -> Call:
    fields = Fields(value, path, allowed=("from", "to"))
    call = Call(client=fields.take("from", _full_name), server=fields.take("to", _full_name))
    for key, name in (("from", call.client), ("to", call.server)):
        if name not in services:
            raise BadInputError(fields.at(key), name, "a service of this file: " + _few(sorted(services)))
    if not services[call.server].ports:
        raise BadInputError(fields.at("to"), call.server, "a service that has a port")
    return call


def _client_rate(value: object, path: str, topology: Topology) -> ClientRate:
    fields = Fields(value, path, allowed=("client", "service", "requests_per_s"))
    client = ContainerName(fields.take("client", _name))
    service = fields.take("service", _full_name)
    if client not in topology.container_by_name:
        raise BadInputError(fields.at("client"), client, "a container of this file")
    if service not in topology.service_by_name:
        raise BadInputError(fields.at("service"), service, "a service of this file")
    if not topology.service_by_name[service].ports:
        raise BadInputError(fields.at("service"), service, "a service that has a port")
    called = topology.servers_of[topology.container_by_name[client].service]
    if service not in called:
        raise BadInputError(fields.at("service"), service, "a service that the client calls: " + _few(sorted(called)))
    return ClientRate(client=client, service=service, requests_per_s=fields.take("requests_per_s", _rate))


def _check_unique(services: Sequence[Service]) -> None:
    """Refuse a second service, container or address of one name."""
    _refuse_twice([service.name for service in services], "services[{}].name", "service")
    containers: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for i, service in enumerate(services):
        for j, container in enumerate(service.containers):
            path = f"services[{i}].containers[{j}]"
            _refuse_second(containers, container.name, f"{path}.name")
            _refuse_second(addresses, container.address, f"{path}.address")


def _refuse_second(seen: dict[str, str], value: str, path: str) -> None:
    if value in seen:
        raise BadInputError(path, value, f"a value used once in the file (also at {seen[value]})")
    seen[value] = path


def _refuse_twice(values: Sequence[object], path: str, what: str) -> None:
    seen: set[object] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise BadInputError(path.format(index), value, f"each {what} once")
        seen.add(value)


def _few(names: Sequence[str], *, most: int = 8) -> str:
    if not names:
        return "none here"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
