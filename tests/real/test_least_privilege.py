"""Both roles as real processes with the capabilities of their manifests: limits on the real kernel, and back again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from enforcer.htb import QDISC
from enforcer.proto import node_agent_pb2 as pb
from tests.real.namespace_pair import namespace_pair

pytestmark = pytest.mark.root
SERVICE = "/askew.enforcer.v1.NodeAgent/"
CPU = Path("/sys/fs/cgroup/cpu/askew-test")
NETWORK = "net_admin,sys_admin,sys_ptrace"


@contextmanager
def role(name: str, containers: Path, capabilities: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run one role with these capabilities and no other; yield it and its gRPC port (0 for a socket)."""
    kept = ",".join(f"+{capability}" for capability in capabilities.split(",") if capability)
    bound = f"-all{',' + kept if kept else ''}"
    setpriv = ("setpriv", f"--bounding-set={bound}", f"--inh-caps={bound}")
    command = (sys.executable, "-m", "askew", "enforce", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    process = subprocess.Popen(
        [*setpriv, *command, "--role", name, "--containers", str(containers)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ASKEW_AGENT_STRATEGY": "none"},
    )
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if ready := re.search(r"ready: .* grpc on port (\d+)", line):
                break
        else:
            pytest.fail("".join(said))
        yield process, int(ready[1])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)


def test_the_roles_limit_cpu_and_network_with_the_capabilities_of_their_manifests(tmp_path: Path) -> None:
    """No capability at all for control groups; three for a namespace. Ended, both leave the kernel as they found it."""
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv program")
    if not (CPU.parent / "cgroup.procs").exists():
        pytest.skip("no cgroup v1 cpu controller")
    group = CPU / f"privilege-{os.getpid()}"
    group.mkdir(parents=True)
    quota = group / "cpu.cfs_quota_us"
    try:
        with namespace_pair() as pair:
            name = {"name": "net", "pid": pair.sender_pid}
            file = tmp_path / "containers.json"
            file.write_text(json.dumps([{"name": "cpu", "cgroup": f"askew-test/{group.name}"}, name]))
            with role("network", file, NETWORK), role("cgroup", file, "") as (cgroup, port):
                request = pb.ApplyRequest(
                    generation=1,
                    ttl_s=60,
                    actions=[
                        pb.Action(container="cpu", resource="cpu", number=0.5, unit="cores"),
                        pb.Action(container="net", resource="network_egress", number=2e7, unit="bits_per_s"),
                    ],
                )
                with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                    raw = channel.unary_unary(SERVICE + "Apply")(request.SerializeToString(), timeout=10)
                results = pb.ApplyResponse.FromString(raw).results
                limited, htb = quota.read_text().strip(), qdiscs(pair.sender)
                cgroup.send_signal(signal.SIGTERM)
                ended = cgroup.wait(timeout=10)
            left = qdiscs(pair.sender)
        given_back = quota.read_text().strip()
    finally:
        group.rmdir()
        if not any(path.is_dir() for path in CPU.iterdir()):
            CPU.rmdir()

    assert [(result.outcome, result.detail) for result in results] == [(pb.APPLIED, ""), (pb.APPLIED, "")]
    assert (limited, ended, given_back) == ("50000", 0, "-1")
    assert (QDISC in htb, QDISC in left) == (True, False)


def qdiscs(namespace: str) -> set[int]:
    """Return the handles of the qdiscs in a namespace."""
    from pyroute2 import NetNS

    with NetNS(namespace) as netlink:
        return {int(qdisc["handle"]) for qdisc in netlink.get_qdiscs()}
