"""The edge to Envoy: an xDS control plane (delta, state-of-the-world, REST) over grpc.aio.

Duty: turn a plan into resources, keep every proxy on the newest consistent snapshot, and hand back what proxies report.
Ban: decides no share; imports ``mesh`` and no other room of ours.
Start reading at ``subscription.py`` (the protocol state, pure), then ``store.py`` and ``ads.py``.
"""
