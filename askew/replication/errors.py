"""What can go wrong between replicas."""

from __future__ import annotations


class ReplicationError(Exception):
    """Base class of all that goes wrong between replicas; none of it changes traffic."""


class CodecError(ReplicationError):
    """Bytes that are no value of the type that was asked for."""
