"""One small good mesh that the tests of this room bend out of shape, and the strategies that do the bending."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from mesh.errors import BadInputError
from mesh.mesh_file import parse_mesh_file
from mesh.topology import Topology

_BOOKSHOP: dict[str, Any] = {
    "apiVersion": "askew.mesh/v1",
    "nodes": [
        {"name": "n1", "zone": "z1", "region": "r1"},
        {"name": "n2", "zone": "z1", "region": "r1", "agent": "127.0.0.2:18100"},
        {"name": "n3", "zone": "z2", "region": "r1"},
    ],
    "services": [
        {"name": "productpage", "containers": [{"name": "productpage-0", "node": "n1", "address": "127.0.1.1"}]},
        {
            "name": "reviews",
            "port": 9080,
            "annotations": {"askew.mesh/routing": "local-first", "team": "books"},
            "containers": [
                {"name": "reviews-0", "node": "n1", "address": "127.0.1.10", "app_port": 9081},
                {"name": "reviews-1", "node": "n2", "address": "127.0.2.10", "port": 9090, "capacity": 2},
            ],
        },
        {
            "name": "store",
            "namespace": "data",
            "ports": [
                {"name": "grpc", "port": 7000, "protocol": "grpc"},
                {"name": "redis", "port": 6379, "protocol": "tcp", "outbound_port": 16379},
            ],
            "containers": [
                {
                    "name": "store-0",
                    "node": "n3",
                    "address": "127.0.3.10",
                    "ports": {"grpc": 7001},
                    "outbound_port": 1501,
                }
            ],
        },
    ],
    "calls": [{"from": "productpage", "to": "reviews.default"}, {"from": "reviews", "to": "store.data"}],
    "rates": [{"client": "productpage-0", "service": "reviews", "requests_per_s": 100}],
}


def bookshop() -> dict[str, Any]:
    """Return a fresh good mesh document: HTTP, gRPC and TCP ports, calls, rates, two zones."""
    return copy.deepcopy(_BOOKSHOP)


def parse(document: object) -> Topology:
    """Return the topology of a document given as a value."""
    return parse_mesh_file(json.dumps(document))


def refusal(document: object) -> str:
    """Return the message with which a document, given as a value or as text, is refused."""
    try:
        parse_mesh_file(document if isinstance(document, str) else json.dumps(document))
    except BadInputError as error:
        return str(error)
    raise AssertionError("the mesh file was accepted")


odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**30), 0, -1, 65536, 1e308, -0.0, 5e-324]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "n1", "reviews", "\ud800", "\u202e", "\x00", "a" * 10_000, "::1", "127.0.0.1", "p95=1ms", "é.x"]
    ),
    st.sampled_from([[], {}, [[]], [{}], {"": 1}, [None], {"name": "x"}]).map(copy.deepcopy),
)


def places(value: object) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a nested document, so that one of them can be changed."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        found.extend(places(inner))
    return found


@st.composite
def mutated_texts(draw: st.DrawFn) -> str:
    """Draw the bookshop as text with 1 to 4 wounds: keys removed, added or doubled, wrong values, torn text."""
    document = bookshop()
    for _ in range(draw(st.integers(1, 4))):
        inside = places(document)
        if not inside:
            break
        holder, key = draw(st.sampled_from(inside))
        match draw(st.sampled_from(["remove", "replace", "add", "swap"])):
            case "remove":
                del holder[key]
            case "replace":
                holder[key] = draw(odd_values)
            case "swap":
                other, other_key = draw(st.sampled_from(inside))
                holder[key] = copy.deepcopy(other.get(other_key) if isinstance(other, dict) else other[other_key])
            case _ if isinstance(holder, dict):
                holder[draw(st.text(max_size=8))] = draw(odd_values)
            case _:
                holder.append(draw(odd_values))
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 3)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.text(max_size=5)) + text[at:]
    return text
