"""Every place on the host that this room knows, in one value. Nothing else names ``/sys``, ``/proc`` or ``/run``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostPaths:
    """The host's roots below ``host_root`` (``/`` on the host itself, ``/host`` in a pod, a directory in tests).

    >>> HostPaths("/host").cgroup
    '/host/sys/fs/cgroup'
    """

    host_root: str = "/"

    def _below(self, path: str) -> str:
        return self.host_root.rstrip("/") + path

    @property
    def cgroup(self) -> str:
        """Mount of cgroup v2, or the directory of v1's mounts."""
        return self._below("/sys/fs/cgroup")

    @property
    def resctrl(self) -> str:
        """Mount of resctrl."""
        return self._below("/sys/fs/resctrl")

    @property
    def cpufreq(self) -> str:
        """Directory of cpufreq's ``policyN``."""
        return self._below("/sys/devices/system/cpu/cpufreq")

    @property
    def online_cpus(self) -> str:
        """File with the list of CPUs that are online."""
        return self._below("/sys/devices/system/cpu/online")

    @property
    def block(self) -> str:
        """Directory of whole disks."""
        return self._below("/sys/block")

    @property
    def proc(self) -> str:
        """The host's procfs."""
        return self._below("/proc")

    @property
    def mounts(self) -> str:
        """Mounts as the host's first process sees them; ours may be a container's."""
        return self._below("/proc/1/mounts")

    @property
    def boot_id(self) -> str:
        """File that changes at every boot: kernel values of another boot are gone."""
        return self._below("/proc/sys/kernel/random/boot_id")

    @property
    def state(self) -> str:
        """Directory of the lock and the journals. Gone after a boot, as the kernel's values are."""
        return self._below("/run/askew")

    @property
    def containers_file(self) -> str:
        """Where the containers of a host without Kubernetes are listed by default."""
        return self._below("/etc/askew/containers.json")
