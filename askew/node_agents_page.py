"""What a person and Prometheus see of the nodes' agents: ``/debug/nodez`` and some metrics."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from askew.node_agents import NodeAgents


def routes(agents: NodeAgents) -> list[web.RouteDef]:
    """Return the page's route."""

    async def nodez(_: web.Request) -> web.Response:
        return web.json_response(agents.page())

    return [web.get("/debug/nodez", nodez)]


class NodeAgentsMetrics(Collector):
    """Reads the lines when it is asked; no label names a node, so that series do not grow with them."""

    def __init__(self, agents: NodeAgents) -> None:
        self._agents = agents

    def collect(self) -> Iterator[Metric]:
        """Yield all series."""
        lines = self._agents.lines.values()
        connected = GaugeMetricFamily(
            "askew_node_agents", "Nodes with an agent that we watch, by whether it answers.", labels=["answers"]
        )
        for answers in (True, False):
            connected.add_metric([str(answers).lower()], sum(line.connected is answers for line in lines))
        yield connected
        lists = CounterMetricFamily(
            "askew_node_lists", "Lists of containers told to agents, by what became of them.", labels=["result"]
        )
        for result, count in self._agents.counts.items():
            lists.add_metric([result], count)
        yield lists
        links = self._agents.links
        measured = CounterMetricFamily(
            "askew_link_measurements", "Containers whose links agents were asked for, by the answer.", labels=["result"]
        )
        for result, count in links.counts.items():
            measured.add_metric([result], count)
        yield measured
        yield CounterMetricFamily(
            "askew_link_measurement_cpu_seconds", "Processor time it took, as agents say.", value=links.cost_cpu_s
        )
        yield GaugeMetricFamily(
            "askew_move_wishes", "Containers whose node's agent wants them elsewhere.", value=len(self._agents.wishes())
        )
