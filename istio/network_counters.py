"""Network counters of pods from cAdvisor's ``container_network_{receive,transmit}_bytes_total``, through Prometheus.

cAdvisor counts per pod (its pause container), not per container, and per interface. What its series carry differs with
the kubelet's version, the container runtime and relabelling, so that what is there is looked at first and what is
missing is said. Known gaps: no pod label on some runtimes; pods on the host's network count the whole node; the same
series twice (two scrape jobs, a pair of Prometheus, a sandbox that was made anew); several interfaces (Multus).
Source: cAdvisor docs, "Prometheus metrics"; issues google/cadvisor#2207, #3662, kubernetes/kubernetes#122182; its
``libcontainer`` handler, which shows no interface ``lo*``, ``veth*`` or ``docker*``; Prometheus docs, "honor_labels".
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from istio.prometheus import Answer, Prometheus, Series
from mesh.counter_sample import CounterSample
from mesh.topology import ContainerName

RECEIVE, TRANSMIT = "container_network_receive_bytes_total", "container_network_transmit_bytes_total"
POD_LABELS = (
    ("namespace", "pod"),
    ("namespace", "pod_name"),  # kubelets before 1.16
    ("container_label_io_kubernetes_pod_namespace", "container_label_io_kubernetes_pod_name"),  # cAdvisor by itself
)
MAIN_INTERFACE = "eth0"
NOT_TRAFFIC = frozenset(
    {"lo", "tunl0", "sit0", "ip6tnl0", "ip6gre0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0"}
)
ONLY_ON_HOSTS = (
    "veth", "cali", "cni", "docker", "flannel", "br-", "lxc", "cilium", "weave", "eni", "azv", "gke", "kube-",
    "nodelocaldns", "vxlan", "antrea", "ovn", "ovs", "genev",
)  # fmt: skip
RENAMED = "exported_"
"""Before a label of cAdvisor's own where the scrape's label of that name went first."""

Pod = tuple[str, str]  # namespace, name
Times = Mapping[float, float]  # sample time -> cumulative bytes


@dataclass(frozen=True, slots=True)
class PodCounters:
    """The samples of the pods that were asked for, by time, and what was left out.

    ``left_out`` names a reason and how many pods or series it concerns; ``no_counters`` are pods that were asked for
    and have no sample at all.
    """

    samples: tuple[CounterSample, ...]
    no_counters: tuple[ContainerName, ...]
    left_out: Mapping[str, int]
    warnings: tuple[str, ...] = ()


class NetworkCounters:
    """Reads pods' counters from one Prometheus."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus

    async def read(
        self, pods: Mapping[Pod, ContainerName], *, window_s: float, time_s: float | None = None
    ) -> PodCounters:
        """Return every stored sample of ``pods`` in the ``window_s`` seconds before ``time_s`` (None: now).

        Two queries. The range selector gives the times of the scrapes; a plain query would give its own time to all of
        them. The answers are joined in a thread.
        Raises what ``Prometheus.instant`` raises.
        """
        span = f"[{max(1, math.ceil(window_s))}s]"
        receive = await self._prometheus.instant(RECEIVE + span, time_s=time_s)
        transmit = await self._prometheus.instant(TRANSMIT + span, time_s=time_s)
        return await asyncio.to_thread(pod_counters, receive, transmit, pods)


def pod_counters(receive: Answer, transmit: Answer, pods: Mapping[Pod, ContainerName]) -> PodCounters:
    """Join the two metrics into samples of ``pods``. O(samples).

    A sample needs both directions at one time. Interfaces: ``eth0`` where a pod has it, else the sum of what is left
    without tunnels and loopback.
    """
    left_out: Counter[str] = Counter()
    left_out["series that could not be read"] = receive.unreadable + transmit.unreadable
    if not receive.series and not transmit.series:
        left_out["no series: cAdvisor is not scraped, or its network metrics are dropped"] = 1
    by_direction = [_by_pod(answer.series, pods, left_out) for answer in (receive, transmit)]
    samples: list[CounterSample] = []
    for pod in sorted(by_direction[0].keys() | by_direction[1].keys()):
        both = [direction.get(pod, {}) for direction in by_direction]
        if any(_on_host_network(interfaces) for interfaces in both):
            left_out["pods on the host's network: the counters are the node's"] += 1
            continue
        if any(len(_real(interfaces)) > 1 for interfaces in both):
            left_out["pods without eth0 and with several interfaces: summed"] += 1
        received, sent = (_counted(interfaces) for interfaces in both)
        times = sorted(received.keys() & sent.keys())
        if not times:
            left_out["pods with one direction only, or never both at one time"] += 1
        samples += [CounterSample(pods[pod], time, int(received[time]), int(sent[time])) for time in times]
    sampled = {sample.container for sample in samples}
    return PodCounters(
        samples=tuple(samples),
        no_counters=tuple(sorted(set(pods.values()) - sampled)),
        left_out={reason: count for reason, count in left_out.items() if count},
        warnings=receive.warnings + transmit.warnings,
    )


Interfaces = dict[str, Times]


def _by_pod(
    series: Sequence[Series], pods: Mapping[Pod, ContainerName], left_out: Counter[str]
) -> dict[Pod, Interfaces]:
    """Return the samples per pod and interface.

    Of doubled series the one that goes on longest counts (a sandbox that was made anew has another), then the one with
    most samples, then the first by its labels: the same for both directions.
    """
    found: defaultdict[Pod, Interfaces] = defaultdict(dict)
    ranks: dict[tuple[Pod, str], tuple[float, int, list[tuple[str, str]]]] = {}
    for one in series:
        pod = _pod_of(one.labels)
        if pod is None:
            if one.labels.get("id") != "/":  # the node itself
                left_out["series without a pod's labels"] += 1
            continue
        if pod not in pods:
            continue
        times = _finite(one.samples, left_out)
        interface = one.labels.get("interface", "")
        rank = (
            -max(times, default=-math.inf),
            -len(times),
            sorted(item for item in one.labels.items() if item[0] != "__name__"),
        )
        known = ranks.get((pod, interface))
        if known is not None:
            left_out["doubled series"] += 1
        if known is None or rank < known:
            found[pod][interface], ranks[pod, interface] = times, rank
    return found


def _pod_of(labels: Mapping[str, str]) -> Pod | None:
    for keys in POD_LABELS:
        namespace, name = (labels.get(RENAMED + key) or labels.get(key) for key in keys)
        if namespace and name:
            return namespace, name
    return None


def _finite(samples: Iterable[tuple[float, float]], left_out: Counter[str]) -> Times:
    good = {time: value for time, value in samples if math.isfinite(value) and value >= 0 and math.isfinite(time)}
    left_out["samples that are no counts"] += sum(1 for time, _ in samples if time not in good)
    return good


def _on_host_network(interfaces: Interfaces) -> bool:
    return any(name.startswith(ONLY_ON_HOSTS) for name in interfaces)


def _real(interfaces: Interfaces) -> list[Times]:
    if MAIN_INTERFACE in interfaces:
        return [interfaces[MAIN_INTERFACE]]
    return [times for name, times in interfaces.items() if name not in NOT_TRAFFIC]


def _counted(interfaces: Interfaces) -> Times:
    real = _real(interfaces)
    common = set.intersection(*(set(times) for times in real)) if real else set()
    return {time: sum(times[time] for times in real) for time in common}
