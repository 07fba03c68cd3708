"""Who subscribes to what, told as changes: the reader always has what the writer has."""

from __future__ import annotations

import random

from askew.replication.asked import AskedReader, AskedWriter, all_asked, services_of
from mesh.topology import ContainerName, ServiceName

SERVICES = [ServiceName(f"s{number}.default") for number in range(4)]
PODS = [ContainerName(f"p{number}.default") for number in range(6)]


def test_the_reader_has_what_the_writer_has() -> None:
    """Over random changes: pods come, go, and subscribe to others; to nothing is to be away."""
    chance = random.Random(7)
    writer, reader = AskedWriter(), AskedReader()
    for _ in range(200):
        there = chance.sample(PODS, chance.randint(0, len(PODS)))
        now = {pod: frozenset(chance.sample(SERVICES, chance.randint(0, 2))) for pod in there}
        read = reader.take(writer.changes(now))

        assert read == {pod: services for pod, services in now.items() if services}


def test_who_asks_for_the_same_is_told_together_and_once() -> None:
    """5,000 sidecars that subscribe to 1,000 services are 6,000 names, and none where nothing is new."""
    services = frozenset(ServiceName(f"s{number}.default") for number in range(1000))
    now = {ContainerName(f"p{number}.default"): services for number in range(5000)}
    writer = AskedWriter()
    whole, again = writer.changes(now), writer.changes(dict(now))

    assert [(len(one.services), len(one.sidecars)) for one in whole.groups] == [(1000, 5000)]
    assert list(again.groups) == []


def test_a_sidecar_on_its_way_between_two_replicas_counts_once() -> None:
    """With all that it asks either of them for."""
    a, b = frozenset(SERVICES[:1]), frozenset(SERVICES[1:2])
    found = all_asked([{PODS[0]: a}, {PODS[0]: b, PODS[1]: b}])

    assert found == {PODS[0]: a | b, PODS[1]: b}
    assert services_of(found) == a | b
