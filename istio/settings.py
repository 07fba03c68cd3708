"""Settings of what speaks to Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """The API server and how it is watched."""

    api_server: str = ""
    """Its URL, without credentials (``kubectl proxy``); empty: the pod's own service account, or else a kubeconfig."""

    kubeconfig: str = ""
    """A kubeconfig to use even inside a pod; empty: ``$KUBECONFIG`` or ``~/.kube/config`` where there is no account."""

    context: str = ""
    """The kubeconfig's context; empty: its current one."""

    deadline_s: float = 10.0
    """Of one request that is no watch."""

    page_objects: int = 500
    """Objects in one page of a list: what is parsed at a time."""

    watch_s: float = 290.0
    """A watch is opened anew after about this long, ± 10 %; it bounds how long a dead connection goes unnoticed."""

    resync_s: float = 3600.0
    """Everything is listed again after this long, ± 10 %, against a server that lost an event; 0 for never."""

    backoff_s: float = 0.5
    """First wait after a failure; it doubles, with jitter, up to ``longest_backoff_s``."""

    longest_backoff_s: float = 30.0
    """However long the server is away, it is tried again after this."""

    absent_retry_s: float = 60.0
    """A resource that is not installed (no Istio) is looked for again after this."""

    build_pause_s: float = 0.05
    """The topology is built anew no sooner than this after the last time: a rollout is a stream of events."""

    cluster_id: str = "Kubernetes"
    """Istio's own name of this cluster, as telemetry shows it."""
