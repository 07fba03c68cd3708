"""A mesh file bent at random is a mesh or a one-line refusal, never anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from mesh.errors import BadInputError
from mesh.mesh_file import parse_mesh_file
from mesh.topology import Topology
from tests.mesh.bookshop import mutated_texts


@settings(max_examples=300)
@given(mutated_texts())
def test_a_mutated_file_is_a_mesh_or_one_line(text: str) -> None:
    """300 files with keys removed, wrong types, huge numbers, odd Unicode or torn text: no other exception escapes."""
    _check(text)


@pytest.mark.slow
@settings(max_examples=5000)
@given(mutated_texts())
def test_many_mutated_files(text: str) -> None:
    """The same for 5,000 files."""
    _check(text)


def _check(text: str) -> None:
    """Fail unless the text is a mesh that can be asked everything, or is refused in one printable line."""
    try:
        topology = parse_mesh_file(text)
    except BadInputError as error:
        message = str(error)
        assert message.isascii()
        assert message.isprintable()
        assert len(message) < 1000
    else:
        assert isinstance(topology, Topology)
        _walk(topology)


def _walk(topology: Topology) -> None:
    """What the file let through can be asked everything that the other rooms ask."""
    for service in topology.services:
        for server in topology.servers_of[service.name]:
            assert server in topology.service_by_name
        for container in service.containers:
            assert topology.distance(container.node, topology.nodes[0].name) >= 0
            assert set(container.ports) == {port.number for port in service.ports}
    assert topology.container_by_proxy_id.keys() == {c.proxy_id for c in topology.container_by_name.values()}
