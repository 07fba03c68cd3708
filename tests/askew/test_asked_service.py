"""Whom a page's ``?service=`` means, and what it says of a name that it does not know."""

from __future__ import annotations

import json

from aiohttp import web

from askew.asked_service import asked_service
from mesh.mesh_file import parse_mesh_file
from mesh.topology import Topology


def topology(*names: str) -> Topology:
    """Return a mesh of these services, each with a port."""
    services = [dict(zip(("name", "namespace"), name.split("."), strict=True), port=80) for name in names]
    nodes = [{"name": "n1"}]
    return parse_mesh_file(json.dumps({"apiVersion": "askew.mesh/v1", "nodes": nodes, "services": services}))


def refusal(mesh: Topology, wanted: str) -> str:
    """Return the error of the 404."""
    answer = asked_service(mesh, wanted)
    assert isinstance(answer, web.Response)
    assert answer.status == 404
    return str(json.loads(answer.text or "")["error"])


def test_a_name_of_another_namespace_is_offered() -> None:
    """Without a namespace ``default`` is meant; who forgot it reads where the name is."""
    mesh = topology("store.data", "store.old", "shop.default")

    assert refusal(mesh, "store") == "service: found 'store', allowed: a service that has a port: store.data, store.old"


def test_of_many_services_ten_are_named() -> None:
    """A line stays a line. A mesh without services has none to offer."""
    mesh = topology(*(f"s{number:02}.default" for number in range(12)))

    said = refusal(mesh, "nope")
    assert said.endswith("a port: " + ", ".join(f"s{number:02}.default" for number in range(10)) + " and 2 more")
    assert refusal(topology(), "nope") == "service: found 'nope', allowed: a service that has a port"
