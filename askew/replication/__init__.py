"""Several replicas of the control plane that act as one. Start with `replicas.py`.

Every replica serves sidecars and hears their reports; one leads, by a Lease. Followers send the leader what they heard,
and get its plan and memory back, so that all serve the same and any of them can go on where the leader was.
"""
