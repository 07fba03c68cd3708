"""What should be: decide shares, connections, targets, replicas, partitions and placements.

Duty: pure functions from a picture to a plan; each named strategy is the paper's rule or ours, never a silent mix.
Ban: no clock, socket, log, file, environment or hidden state; imports ``mesh`` and ``estimators`` only.
Start reading at ``traffic_plan.py``, then ``local_first.py``.
"""
