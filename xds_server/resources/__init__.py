"""Shares to bytes: the Envoy resources that one client's sidecar gets.

Duty: pure builders of clusters, endpoints, routes and listeners, deterministic to the byte.
Ban: no I/O, no subscription state.
Start reading at ``names.py``, then ``client_config.py``.
"""
