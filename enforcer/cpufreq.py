"""CPU frequency: the policies that a container has for itself.

A policy may span several CPUs, and a frequency is the CPU's, not the container's: so a container has one only where its
cpuset is smaller than the machine and covers whole policies.
"""

from __future__ import annotations

from enforcer.cells import Cell, Demand, NotDone
from enforcer.cgroup import Hierarchies
from enforcer.container_paths import HostContainer
from enforcer.cpu_list import format_cpus, parse_cpus
from enforcer.host_files import HostFiles
from enforcer.host_paths import HostPaths
from mesh.actions import Action

KIND = "cpufreq/scaling_max_freq"


class CpufreqDriver:
    """Turns cpu_frequency into demands on ``scaling_max_freq`` of a container's own policies."""

    RESOURCES: tuple[str, ...] = ("cpu_frequency",)

    def __init__(self, files: HostFiles, paths: HostPaths, hierarchies: Hierarchies) -> None:
        self._files, self._paths, self._hierarchies = files, paths, hierarchies

    def capability(self, resource: str) -> str:
        """Return ``supported``, or why not: virtual machines have no cpufreq."""
        del resource
        return "supported" if self._policies() else f"no policy in {self._paths.cpufreq}"

    def demands(self, action: Action, container: HostContainer) -> tuple[Demand, ...] | NotDone:
        """Return a limit for every policy whose CPUs are all the container's own. Raises OSError."""
        policies = self._policies()
        if not policies:
            return NotDone("unsupported", self.capability(action.resource))
        own, online = self._cpus_of(container), parse_cpus(self._files.read(self._paths.online_cpus))
        if not own or own >= online:
            return NotDone("refused", f"{container.name} has no CPUs of its own: give it a cpuset first")
        khz = round(float(action.value) * 1000)
        demands: list[Demand] = []
        for policy in policies:
            cpus = self._affected(policy)
            if not cpus & own:
                continue
            if not cpus <= own:
                return NotDone(
                    "refused", f"{policy} spans CPUs {format_cpus(cpus)}, the container has {format_cpus(own)}"
                )
            low, high = (self._khz(policy, f"cpuinfo_{end}_freq") for end in ("min", "max"))
            if not low <= khz <= high:
                return NotDone("refused", f"{khz} kHz: {policy} runs from {low} to {high}")
            demands.append(Demand(Cell(KIND, policy), str(khz)))
        return tuple(demands)

    def _policies(self) -> tuple[str, ...]:
        if not self._files.exists(self._paths.cpufreq):
            return ()
        return tuple(name for name in self._files.names(self._paths.cpufreq) if name.startswith("policy"))

    def _affected(self, policy: str) -> frozenset[int]:
        return frozenset(int(cpu) for cpu in self._files.read(f"{self._paths.cpufreq}/{policy}/affected_cpus").split())

    def _khz(self, policy: str, name: str) -> int:
        return int(self._files.read(f"{self._paths.cpufreq}/{policy}/{name}"))

    def _cpus_of(self, container: HostContainer) -> frozenset[int]:
        group = self._hierarchies.group_of(container, "cpuset")
        if not group:
            return frozenset()
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"):
            path = f"{self._hierarchies.roots['cpuset']}/{group}/{name}"
            if self._files.exists(path):
                return parse_cpus(self._files.read(path))
        return frozenset()
