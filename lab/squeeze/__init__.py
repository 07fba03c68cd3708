"""``askew lab squeeze``: two real servers and a CPU hog in control groups of our own, without and with the node agent.

    load (open loop) ──► front, back   one process each, latency-critical, with a Prometheus page of their own
                         hog           busy loops, best-effort
                         askew enforce the agent, a process like on any node

Start reading in ``experiment.py``.
"""
