"""One driver for all runs: each identity goes to the driver of its kind."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.launch_spec import Force, LaunchSpec
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.slurm.driver import SlurmDriver
from trainmaster.bot.drivers.slurm.queue import MAX_AGE_S
from trainmaster.bot.errors import DriverError

_OFF = "it is a job of a cluster, and this bot asks none: SLURM=off, or squeue is not on its PATH"


def driver_of(launches: Path, *, slurm: str, look_s: float, only_looks: bool = False) -> RoutingDriver:
    """The driver of this host, and with ``slurm`` = auto of the cluster whose commands are installed here. A look every
    ``look_s`` must find the queue as it is then. ``only_looks`` as of :class:`SlurmDriver`."""
    there = slurm != "off" and shutil.which("squeue") is not None
    age_s = min(MAX_AGE_S, look_s / 2)
    cluster = SlurmDriver(launches, max_age_s=age_s, only_looks=only_looks) if there else None
    return RoutingDriver(LocalDriver(launches), cluster)


class RoutingDriver:
    """A :class:`trainmaster.bot.operations.ports.Driver`. ``cluster`` is None where the operator wants none."""

    def __init__(self, local: LocalDriver, cluster: SlurmDriver | None) -> None:
        self.local = local
        self.cluster = cluster

    def inspect(self, identity: Identity) -> ProcessFact:
        """What is known of it now."""
        if isinstance(identity, ProcessIdentity):
            return self.local.inspect(identity)
        if self.cluster is None:
            return ProcessFact(status=ProcessStatus.UNKNOWN, ts=time.time(), detail=_OFF)
        return self.cluster.inspect(identity)

    def next_start(self, run: str, identity: Identity) -> ProcessFact | None:
        """Of a later start of the run that waits in a queue or has begun there, and has not signed in yet as far as
        ``identity``, of the newest one that has, tells. None where there is none; a process begins at once."""
        if isinstance(identity, ProcessIdentity) or self.cluster is None:
            return None
        return self.cluster.next_start(run, identity)

    def stop(self, identity: Identity, force: Force) -> bool:
        """It was brought nearer its end.

        Raises:
            DriverError: see the driver of its kind; or SLURM=off.
        """
        if isinstance(identity, ProcessIdentity):
            return self.local.stop(identity, force)
        return self._cluster().stop(identity, force)

    def launch(self, spec: LaunchSpec) -> Identity:
        """It runs, or waits in a queue; where the spec has options of a cluster, there.

        Raises:
            DriverError: it could not be started.
        """
        return self.local.launch(spec) if spec.options is None else self._cluster().launch(spec)

    def find(self, key: str) -> Identity | None:
        """What a launch with that key started, wherever.

        Raises:
            DriverError: that cannot be told.
        """
        found = self.local.find(key)
        if found is None and self.cluster is not None:
            return self.cluster.find(key)
        return found

    def survivors(self, identity: Identity) -> tuple[Identity, ...]:
        """What belonged to it and is still alive, as far as can be seen from here."""
        return self.local.survivors(identity) if isinstance(identity, ProcessIdentity) else ()

    def _cluster(self) -> SlurmDriver:
        if self.cluster is None:
            raise DriverError("cluster-off", f"{_OFF}.", "set SLURM=auto, and install Slurm's client commands")
        return self.cluster
