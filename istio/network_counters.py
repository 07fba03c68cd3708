"""What pods receive and send, from cAdvisor's ``container_network_{receive,transmit}_bytes_total``, through Prometheus.

cAdvisor counts per pod (its pause container), not per container, and per interface. What its series carry differs with
the kubelet's version, the container runtime and relabelling, so that what is there is looked at first and what is
missing is said. Known gaps: no pod label on some runtimes; pods on the host's network count the whole node; the same
series twice (two scrape jobs, a pair of Prometheus, each container of a pod, a sandbox that was made anew); several
interfaces (Multus). ``rate`` knows restarts and the scrapes' own times; of series of one pod and interface the largest
rate counts, so that none counts twice. The rates are made in Prometheus: the samples of 5,000 pods over 5 minutes are
six times as many bytes and take ten times as long to read.
Source: cAdvisor docs, "Prometheus metrics"; issues google/cadvisor#2207, #3662, kubernetes/kubernetes#122182; its
``libcontainer`` handler, which shows no interface ``lo*``, ``veth*`` or ``docker*``; Prometheus docs, "honor_labels",
"Querying".
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from istio.prometheus import Answer, Prometheus
from mesh.telemetry import PodBytes
from mesh.topology import ContainerName

RECEIVE, TRANSMIT = "container_network_receive_bytes_total", "container_network_transmit_bytes_total"
POD_LABELS = (
    ("namespace", "pod"),
    ("namespace", "pod_name"),  # kubelets before 1.16
    ("container_label_io_kubernetes_pod_namespace", "container_label_io_kubernetes_pod_name"),  # cAdvisor by itself
)
RENAMED = "exported_"
"""Before a label of cAdvisor's own where the scrape's label of that name went first."""
NOT_THE_NODE = '{id!="/"}'
MAIN_INTERFACE = "eth0"
NOT_TRAFFIC = frozenset(
    {"lo", "tunl0", "sit0", "ip6tnl0", "ip6gre0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0"}
)
ONLY_ON_HOSTS = (
    "veth", "cali", "cni", "docker", "flannel", "br-", "lxc", "cilium", "weave", "eni", "azv", "gke", "kube-",
    "nodelocaldns", "vxlan", "antrea", "ovn", "ovs", "genev",
)  # fmt: skip
_SPELLINGS = [(*pair, *(RENAMED + name for name in pair)) for pair in POD_LABELS]
_NAMES = dict.fromkeys(name for pair in POD_LABELS for name in pair)
_BY = ", ".join(["interface", *_NAMES, *(RENAMED + name for name in _NAMES)])

Pod = tuple[str, str]  # namespace, name
Interfaces = Mapping[str, float]  # by name a rate, or a time


@dataclass(frozen=True, slots=True)
class PodRates:
    """What the pods that were asked for received and sent, and what was left out.

    ``left_out`` names a reason and how many pods or series it concerns.
    """

    pods: tuple[PodBytes, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class NetworkCounters:
    """Reads pods' rates from one Prometheus.

    Parameters
    ----------
    window_s:
        Length of the means, whole seconds; at least four scrapes should fall into it.
    """

    def __init__(self, prometheus: Prometheus, *, window_s: float) -> None:
        self._prometheus, self._window_s = prometheus, max(1, math.ceil(window_s))

    async def read(self, pods: Mapping[Pod, ContainerName], *, time_s: float) -> PodRates:
        """Return the rates of the window that ends at ``time_s`` (Unix seconds). Three queries.

        Raises what ``Prometheus.instant`` raises.
        """
        ask, window_s = self._prometheus.instant, self._window_s
        received, sent = [
            await ask(f"max by ({_BY}) (rate({metric}{NOT_THE_NODE}[{window_s}s]))", time_s=time_s)
            for metric in (RECEIVE, TRANSMIT)
        ]
        times = await ask(f"max by ({_BY}) (timestamp({RECEIVE}{NOT_THE_NODE}))", time_s=time_s)
        return await asyncio.to_thread(pod_rates, received, sent, times, pods, oldest_s=time_s - window_s / 2)


def pod_rates(
    received: Answer, sent: Answer, times: Answer, pods: Mapping[Pod, ContainerName], *, oldest_s: float
) -> PodRates:
    """Join both directions and the times of the newest samples into rates of ``pods``. O(series).

    Interfaces: ``eth0`` where a pod has it, else the sum of what is left without tunnels and loopback. A pod that was
    last counted before ``oldest_s`` is none.
    """
    every = (received, sent, times)
    left_out: Counter[str] = Counter()
    left_out["series that could not be read"] = sum(answer.unreadable for answer in every)
    if not received.series and not sent.series:
        why = "no two samples in the window" if times.series else "cAdvisor is not scraped, or its metrics are dropped"
        left_out[f"no series {RECEIVE}: {why}"] = 1
    ways = [_by_pod(answer, pods, left_out) for answer in (received, sent)]
    at_s = _by_pod(times, pods, Counter())
    found: list[PodBytes] = []
    for pod in sorted(ways[0].keys() | ways[1].keys()):
        both = [_real(way.get(pod, {})) for way in ways]
        time_s = max(at_s.get(pod, {}).values(), default=-math.inf)
        if any(_on_host_network(way.get(pod, {})) for way in ways):
            left_out["pods on the host's network: the counters are the node's"] += 1
        elif both[0].keys() != both[1].keys():
            left_out["pods with one direction only"] += 1
        elif time_s < oldest_s:
            left_out["pods that are counted no more"] += 1
        elif both[0]:
            left_out["pods without eth0 and with several interfaces: summed"] += len(both[0]) > 1
            found.append(PodBytes(pods[pod], time_s, *(sum(way.values()) for way in both)))
    left_out["pods without counters"] = len(pods) - len(found) if found else 0
    return PodRates(
        pods=tuple(found),
        left_out={reason: count for reason, count in left_out.items() if count},
        warnings=tuple(dict.fromkeys(warning for answer in every for warning in answer.warnings)),
    )


def _by_pod(answer: Answer, pods: Mapping[Pod, ContainerName], left_out: Counter[str]) -> dict[Pod, dict[str, float]]:
    """Return the values per pod and interface; the largest where several tell."""
    found: defaultdict[Pod, dict[str, float]] = defaultdict(dict)
    for one in answer.series:
        pod, value = _pod_of(one.labels), one.samples[-1][1] if one.samples else math.nan
        if pod is None:
            left_out["series without a pod's labels"] += 1
        elif pod not in pods:
            continue
        elif not 0.0 <= value < math.inf:
            left_out["values that are no rates"] += 1
        else:
            interface = one.labels.get("interface", "")
            left_out["doubled series"] += interface in found[pod]
            found[pod][interface] = max(value, found[pod].get(interface, 0.0))
    return found


def _pod_of(labels: Mapping[str, str]) -> Pod | None:
    for namespace, name, moved_namespace, moved_name in _SPELLINGS:
        found = labels.get(moved_namespace) or labels.get(namespace), labels.get(moved_name) or labels.get(name)
        if found[0] and found[1]:
            return found[0], found[1]
    return None


def _on_host_network(interfaces: Interfaces) -> bool:
    return any(name.startswith(ONLY_ON_HOSTS) for name in interfaces)


def _real(interfaces: Interfaces) -> Interfaces:
    if MAIN_INTERFACE in interfaces:
        return {MAIN_INTERFACE: interfaces[MAIN_INTERFACE]}
    return {name: value for name, value in interfaces.items() if name not in NOT_TRAFFIC}
