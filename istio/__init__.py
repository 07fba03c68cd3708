"""The edge to Kubernetes, Istio, Prometheus and Jaeger.

Duty: watch the cluster, render and apply what makes Istio's sidecars obey, read telemetry engines.
Ban: decides nothing; imports ``mesh`` and no other room of ours.
Start reading at ``prometheus.py``; what watches the cluster is not built yet.
"""
