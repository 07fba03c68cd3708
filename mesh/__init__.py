"""The nouns of a mesh: nodes, services, containers, policies, telemetry, pictures, plans.

Duty: hold frozen values, check them, and read them from the mesh file.
Ban: no clock, socket, log, file, environment or randomness; nothing of ours is imported here.
Start reading at ``topology.py``, then ``plan.py``.
"""
