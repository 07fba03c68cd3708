"""The edge to Kubernetes, Istio, Prometheus and Jaeger.

Duty: watch the cluster, render and apply what makes Istio's sidecars obey, read telemetry engines.
Ban: decides nothing; imports ``mesh`` and no other room of ours.
Start reading at ``topology.py`` for what is seen, at ``wanted.py`` for what is written, at ``prometheus.py`` for
telemetry.
"""
