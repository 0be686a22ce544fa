"""Identities as plain data, for journals. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from trainmaster.bot.core.run.facts import Identity, ProcessIdentity
from trainmaster.bot.core.run.job import JobIdentity


def encode_identity(identity: Identity) -> dict[str, Any]:
    """As :func:`decode_identity` reads it."""
    return asdict(identity)


def decode_identity(record: Mapping[str, Any]) -> Identity:
    """What :func:`encode_identity` wrote.

    Raises:
        TypeError: it is something else.
    """
    return ProcessIdentity(**record) if "pid" in record else JobIdentity(**record)


def same_start(one: Identity, other: Identity) -> bool:
    """Whether both name the same process of a host, or the same job, at whichever of its starts. Both must be of one
    time: a process is compared by its pid, a job by its number."""
    if isinstance(one, JobIdentity) and isinstance(other, JobIdentity):
        return one.id == other.id and (one.cluster == other.cluster or None in {one.cluster, other.cluster})
    if isinstance(one, ProcessIdentity) and isinstance(other, ProcessIdentity):
        return one.pid == other.pid
    return False
