"""Which service port a page's ``?service=`` means: ``reviews``, ``reviews.default`` or ``reviews.default:9080``."""

from __future__ import annotations

from aiohttp import web

from mesh.topology import Service, ServiceName, ServicePort, Topology

MOST_NAMED = 10


def asked_service(topology: Topology, wanted: str) -> tuple[Service, ServicePort] | web.Response:
    """Return the service and its port (its first where none is named), or the 404 that says what is allowed."""
    name, _, port = wanted.partition(":")
    names = topology.service_by_name
    service = names.get(ServiceName(name)) or names.get(ServiceName(f"{name}.default"))
    if service is None or not service.ports:
        return _unknown(f"service: found {wanted!r}, allowed: a service that has a port{_such_as(topology, name)}")
    if port and port not in {str(known.number) for known in service.ports}:
        allowed = ", ".join(str(known.number) for known in service.ports)
        return _unknown(f"service: found port {port!r}, allowed: {allowed}")
    return service, ServicePort(service.name, int(port) if port else service.ports[0].number)


def _such_as(topology: Topology, name: str) -> str:
    """Return services to choose from: those of that short name in any namespace, or else all, up to ten."""
    known = sorted(str(one.name) for one in topology.services if one.ports)
    listed = [one for one in known if one.partition(".")[0] == name.partition(".")[0]] or known
    more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return f": {', '.join(listed[:MOST_NAMED])}{more}" if listed else ""


def _unknown(error: str) -> web.Response:
    return web.json_response({"error": error}, status=404)
