"""Each rule of the mesh file, broken once: the message is golden, so that a reviewer reads it as a person would."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.mesh.bookshop import bookshop, refusal

Change = Callable[[dict[str, Any]], Any]

# rule -> how to break it in the bookshop
BROKEN: dict[str, Change] = {
    "version: required": lambda d: d.pop("apiVersion"),
    "version: known": lambda d: d.update(apiVersion="askew.mesh/v2"),
    "unknown key at the top": lambda d: d.update(servcies=[]),
    "unknown key in a node": lambda d: d["nodes"][0].update(rack="a"),
    "unknown key in a service": lambda d: d["services"][1].update(replicas=3),
    "unknown key in a port": lambda d: d["services"][2]["ports"][0].update(number=1),
    "unknown key in a container": lambda d: d["services"][1]["containers"][0].update(cpu=1),
    "unknown key in a call": lambda d: d["calls"][0].update(rate=1),
    "unknown key in a rate": lambda d: d["rates"][0].update(rps=1),
    "nodes: required": lambda d: d.pop("nodes"),
    "nodes: a list": lambda d: d.update(nodes={"n1": {}}),
    "services: required": lambda d: d.pop("services"),
    "services: a list of mappings": lambda d: d["services"].append("reviews"),
    "node: name required": lambda d: d["nodes"][0].pop("name"),
    "node: name twice": lambda d: d["nodes"][1].update(name="n1"),
    "node: name of odd characters": lambda d: d["nodes"][0].update(name="n 1"),
    "node: agent": lambda d: d["nodes"][1].update(agent="127.0.0.2"),
    "service: name": lambda d: d["services"][1].update(name="Reviews"),
    "service: name a number": lambda d: d["services"][1].update(name=7),
    "service: name too long": lambda d: d["services"][1].update(name="r" * 64),
    "service: twice": lambda d: d["services"].append({"name": "reviews"}),
    "service: port out of range": lambda d: d["services"][1].update(port=70000),
    "service: port zero": lambda d: d["services"][1].update(port=0),
    "service: port a string": lambda d: d["services"][1].update(port="9080"),
    "service: port a boolean": lambda d: d["services"][1].update(port=True),
    "service: protocol": lambda d: d["services"][1].update(protocol="https"),
    "service: protocol without port": lambda d: d["services"][0].update(protocol="grpc"),
    "service: port beside ports": lambda d: d["services"][2].update(port=80),
    "service: ports without name": lambda d: d["services"][2]["ports"][0].pop("name"),
    "service: two ports of one number": lambda d: d["services"][2]["ports"][1].update(port=7000),
    "service: two ports of one name": lambda d: d["services"][2]["ports"][1].update(name="grpc"),
    "tcp: outbound_port required": lambda d: d["services"][2]["ports"][1].pop("outbound_port"),
    "tcp: outbound_port only there": lambda d: d["services"][1].update(outbound_port=9999),
    "annotation: unknown": lambda d: d["services"][1]["annotations"].update({"askew.mesh/rooting": "uniform"}),
    "annotation: wrong value": lambda d: d["services"][1]["annotations"].update({"askew.mesh/routing": "local"}),
    "annotation: not a string": lambda d: d["services"][1]["annotations"].update({"askew.mesh/connections": True}),
    "annotations: a mapping": lambda d: d["services"][1].update(annotations=["askew.mesh/routing"]),
    "container: name required": lambda d: d["services"][1]["containers"][0].pop("name"),
    "container: node required": lambda d: d["services"][1]["containers"][0].pop("node"),
    "container: dangling node": lambda d: d["services"][1]["containers"][0].update(node="n9"),
    "container: address required": lambda d: d["services"][1]["containers"][0].pop("address"),
    "container: address a name": lambda d: d["services"][1]["containers"][0].update(address="localhost"),
    "container: address of none": lambda d: d["services"][1]["containers"][0].update(address="0.0.0.0"),
    "container: address twice": lambda d: d["services"][1]["containers"][1].update(address="127.0.1.10"),
    "container: capacity zero": lambda d: d["services"][1]["containers"][0].update(capacity=0),
    "container: capacity a string": lambda d: d["services"][1]["containers"][0].update(capacity="2"),
    "container: capacity huge": lambda d: d["services"][1]["containers"][0].update(capacity=10**400),
    "container: port for several": lambda d: d["services"][2]["containers"][0].update(port=80),
    "container: port for none": lambda d: d["services"][0]["containers"][0].update(port=80),
    "container: ports for one unnamed": lambda d: d["services"][1]["containers"][0].update(ports={"http": 80}),
    "container: ports of unknown name": lambda d: d["services"][2]["containers"][0].update(ports={"http": 80}),
    "container: port and ports": lambda d: d["services"][1]["containers"][0].update(port=1, ports={}),
    "clash: app on the sidecar's port": lambda d: d["services"][1]["containers"][0].update(app_port=9080),
    "clash: outbound on the inbound": lambda d: d["services"][1]["containers"][0].update(outbound_port=9080),
    "clash: outbound on the app": lambda d: d["services"][1]["containers"][0].update(outbound_port=9081),
    "clash: Prometheus": lambda d: d["services"][1]["containers"][1].update(port=15090),
    "clash: two ports on one": lambda d: d["services"][2]["containers"][0].update(ports={"grpc": 6379}),
    "clash: tcp on a client's own": lambda d: d["services"][2]["ports"][1].update(outbound_port=9080),
    "calls: null": lambda d: d.update(calls=None),
    "calls: from required": lambda d: d["calls"][0].pop("from"),
    "calls: from unknown": lambda d: d["calls"][0].update({"from": "frontpage"}),
    "calls: to unknown": lambda d: d["calls"][1].update(to="store"),
    "calls: to without port": lambda d: d["calls"][1].update(to="productpage"),
    "calls: a name of three parts": lambda d: d["calls"][1].update(to="store.data.svc"),
    "rates: client unknown": lambda d: d["rates"][0].update(client="productpage-9"),
    "rates: service unknown": lambda d: d["rates"][0].update(service="ratings"),
    "rates: not called": lambda d: d["rates"][0].update(service="store.data"),
    "rates: negative": lambda d: d["rates"][0].update(requests_per_s=-1),
    "rates: required": lambda d: d["rates"][0].pop("requests_per_s"),
    "rates: twice": lambda d: d["rates"].append(dict(d["rates"][0])),
}
TEXTS: dict[str, str] = {
    "text: empty": "",
    "text: broken JSON": '{"apiVersion": ',
    "text: broken YAML": "apiVersion: askew.mesh/v1\nnodes: [\n  a: b: c",
    "text: two documents": "apiVersion: askew.mesh/v1\n---\nnodes: []\n",
    "text: a JSON key twice": '{"nodes": [], "nodes": []}',
    "text: a YAML key twice": "nodes: []\nservices: []\nnodes: []\n",
    "text: JSON NaN": '{"apiVersion": NaN}',
    "text: JSON Infinity": '{"apiVersion": -Infinity}',
    "text: octal or not": "nodes: 010\n",
    "text: a tag of Python": "nodes: !!python/object:os.system {}\n",
    "text: a tag that does not fit": "nodes: !!int ''\n",
    "text: control characters in a key": '{"\\u001b[2Jx\\n": 1}',
}
# Here the words are the library's and change with its version.
DEEP = {"YAML": "nodes: " + "[" * 100_000, "JSON": '{"nodes": ' + "[" * 100_000}


def messages() -> dict[str, str]:
    """Return the message of every broken rule."""
    found: dict[str, str] = {}
    for rule, change in BROKEN.items():
        document = bookshop()
        change(document)
        found[rule] = refusal(json.dumps(document))
    return found | {rule: refusal(text) for rule, text in TEXTS.items()}


def test_every_rule_has_its_message(golden: Callable[[str, str], None]) -> None:
    """Breaking a rule is refused with the path, what was found and what is allowed, as ``tests/golden`` has it."""
    golden("mesh_file_refusals.txt", "".join(f"{rule}\n    {message}\n" for rule, message in messages().items()))


def test_every_message_is_one_line_with_its_three_parts() -> None:
    """Every message is one printable ASCII line that says what was found and what is allowed."""
    for rule, message in (messages() | {name: refusal(text) for name, text in DEEP.items()}).items():
        assert message.isascii(), rule
        assert message.isprintable(), rule
        assert "found " in message, rule
        assert ", allowed: " in message, rule
        assert len(message) < 500, rule
