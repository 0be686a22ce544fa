"""A place where a training can live: this host, or a real Slurm cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.slurm import Cluster, cluster


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """A cluster of two nodes."""
    with cluster(NODES="2") as made:
        yield made
