"""What Prometheus hears of the agent. Series grow with resources and with the containers of this node, no further."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from enforcer.agent import NodeAgent
from enforcer.node_loop import LoopFigures


class AgentMetrics:
    """A collector that reads the agent and its loop when it is asked."""

    def __init__(self, agent: NodeAgent, figures: LoopFigures | None, capabilities: Mapping[str, str]) -> None:
        self._agent, self._figures, self._capabilities = agent, figures, capabilities

    def register(self, registry: CollectorRegistry) -> None:
        """Register with the agent's registry, the process's own figures beside it."""
        registry.register(self)
        ProcessCollector(registry=registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all series."""
        actions = CounterMetricFamily(
            "askew_enforcer_actions", "Actions by what became of them.", labels=["resource", "result"]
        )
        for (resource, result), count in sorted(self._agent.counts.items()):
            actions.add_metric([resource, result], count)
        yield actions
        supported = GaugeMetricFamily(
            "askew_enforcer_supported", "1 where this node can limit the resource.", labels=["resource"]
        )
        for resource, said in sorted(self._capabilities.items()):
            supported.add_metric([resource], float(said == "supported"))
        yield supported
        yield GaugeMetricFamily(
            "askew_enforcer_leases", "Actions in force.", value=len(self._agent.writer.state.leases)
        )
        if self._figures is not None:
            yield from self._loop(self._figures)

    def _loop(self, figures: LoopFigures) -> Iterator[Metric]:
        yield CounterMetricFamily("askew_enforcer_steps", "Steps of the loop.", value=figures.steps)
        yield CounterMetricFamily("askew_enforcer_late_steps", "Steps that overran.", value=figures.late)
        slack = GaugeMetricFamily(
            "askew_enforcer_slack",
            "Part of the target that is left; negative where it is missed.",
            labels=["container"],
        )
        latency = GaugeMetricFamily(
            "askew_enforcer_latency_seconds", "The percentile that the target is about.", labels=["container"]
        )
        for name, value in figures.last.slack.items():
            slack.add_metric([name], value)
        for name, value_ms in figures.last.latency_ms.items():
            latency.add_metric([name], value_ms / 1000.0)
        yield slack
        yield latency
