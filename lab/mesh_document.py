"""An application as a mesh file: addresses for its containers, annotations, calls, and, if asked, rates.

Askew learns the rates from the sidecars; to give them, as worked out from the load and the call graph, shows what a
plan without anything to learn does.

A node is a group of loopback addresses: node ``i`` has ``127.<block + i>.0.0/16``, where the block is what this run has
reserved; within it, ``127.<node>.<service>.<replica>``, the load's containers at ``127.<node>.0.<i>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from lab.application import Application
from lab.flow import container_rates, load_senders
from lab.topology_file import APP_PORT, LOAD_SERVICE
from mesh.mesh_file import parse_mesh_file
from mesh.topology import Topology

API_VERSION = "askew.mesh/v1"
ROUTING = "askew.mesh/routing"
Rates = Literal["learnt", "given"]


@dataclass(frozen=True, slots=True)
class MeshDocument:
    """The text of a mesh file and what it says, checked by the same parser that the control plane uses."""

    text: str
    topology: Topology


def node_prefixes(application: Application, *, block: int) -> Mapping[str, str]:
    """Return the address prefix of each node.

    >>> from lab.topology_file import load_application, shipped_file
    >>> node_prefixes(load_application(shipped_file("chain")), block=20)["n2"]
    '127.21.0.0/16'
    """
    return {node: f"127.{block + index}.0.0/16" for index, node in enumerate(application.nodes)}


def mesh_document(
    application: Application, *, block: int, annotations: Mapping[str, str], rates: Rates = "learnt"
) -> MeshDocument:
    """Return the mesh file of ``application``, each of its services annotated with ``annotations``."""
    octet = {node: block + index for index, node in enumerate(application.nodes)}
    services = [_load_service(application, octet)]
    for number, service in enumerate(application.services, start=1):
        containers = [
            {
                "name": replica.name,
                "node": replica.node,
                "address": f"127.{octet[replica.node]}.{number}.{index}",
                "app_port": APP_PORT,
                "capacity": replica.capacity,
            }
            for index, replica in enumerate(application.replicas_of[service.name], start=1)
        ]
        entry = {"name": service.name, "port": service.port, "annotations": dict(annotations), "containers": containers}
        services.append(entry)
    calls = ((LOAD_SERVICE, application.load.service), *application.edges)
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "nodes": [{"name": node} for node in application.nodes],
        "services": services,
        "calls": [{"from": client, "to": server} for client, server in calls],
    }
    if rates == "given":
        document["rates"] = [
            {"client": rate.client, "service": rate.service, "requests_per_s": rate.requests_per_s}
            for rate in container_rates(application)
        ]
    text = yaml.safe_dump(document, sort_keys=False, width=120)
    return MeshDocument(text, parse_mesh_file(text))


def _load_service(application: Application, octet: Mapping[str, int]) -> dict[str, Any]:
    number = dict.fromkeys(octet, 0)
    containers = []
    for sender in load_senders(application.load):
        number[sender.node] += 1
        address = f"127.{octet[sender.node]}.0.{number[sender.node]}"
        containers.append({"name": sender.name, "node": sender.node, "address": address})
    return {"name": LOAD_SERVICE, "containers": containers}
