"""One node with several services on it, simulated: what each partition does to each one's tail latency.

Duty: applications calibrated on PARTIES' Fig. 1 and 2 (sharing: Table 4), a node that runs under any partitioning
strategy, and the tables of its evaluation: effective utilisation, Fig. 8, convergence, fluctuating load, ablations. All
figures are simulated.
Ban: strategies see only a ``NodeView``, made of counted requests; only the oracle and the judge read the true law.
Start reading at ``applications.py``, ``latency_law.py``, ``node.py``, then ``closed_loop.py``.
"""
