"""A whole mesh on one machine: real Envoys, real sockets, real queues, and the experiments on them.

Duty: bring a mesh up, load it, measure what crosses nodes from Envoy's own counters, and leave nothing behind.
Ban: only loopback addresses; ends only processes that it started; simulated figures are called simulated.
Start reading at ``demo.py``, then ``mesh.py``.
"""
