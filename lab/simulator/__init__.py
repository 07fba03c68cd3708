"""A discrete-event simulator of load-balancing policies: same requests, same neighbours, one policy after the other.

Duty: draw a workload once per seed (time, client, work, antagonists) before any policy acts, run it under each policy,
and report latency, locality, connections and utilisation. Its figures are simulated and are always called so.
Ban: a policy sees only what its place in a mesh can see (``sight.py``); only oracles read true speeds and rates.
Start reading at ``scenario.py`` (what happens), ``run.py`` (one run), ``engine.py`` (the events), then ``policy.py``
and one file each in ``policies/``.
"""
