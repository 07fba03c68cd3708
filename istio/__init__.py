"""The edge to Kubernetes, Istio, Prometheus and Jaeger.

Duty: watch the cluster, render and apply what makes Istio's sidecars obey, read telemetry engines.
Ban: decides nothing; imports ``mesh`` and no other room of ours.
Start reading at ``topology.py`` (a cluster as a mesh), then ``watch.py``; telemetry: ``prometheus.py``.
"""
