"""What is: turn samples into rates, link traffic, latencies, critical paths and culprits.

Duty: pure functions from telemetry values to a picture; every figure with its method and its confidence.
Ban: no clock, socket, log, file, environment or hidden state; imports ``mesh`` only.
Start reading at ``counters.py``.
"""
