"""Where runs live, and what looks at them."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainmaster.bot.checks.limits import CheckLimits, HostLimits
from trainmaster.bot.core.run.ownership import OwnerCheck
from trainmaster.bot.drivers.host import HostProbe
from trainmaster.bot.drivers.local.stacks import Stacks
from trainmaster.bot.drivers.local.trainer_process import TrainerProcesses
from trainmaster.bot.drivers.routing import RoutingDriver, driver_of
from trainmaster.bot.errors import StoreError
from trainmaster.bot.operations.run_looks import RunLooks
from trainmaster.bot.reading.adopted import AdoptedReader
from trainmaster.bot.reading.ownership import Ownership
from trainmaster.bot.reading.run_files import RunReader, find_runs
from trainmaster.bot.service.lease import Lease
from trainmaster.bot.settings.model import Settings
from trainmaster.bot.storage.adoptions import find_adoptions, read_adoption
from trainmaster.bot.storage.alerts import AlertStore
from trainmaster.bot.storage.database import Database
from trainmaster.bot.watching.host import HostWatch
from trainmaster.bot.watching.limits import WatchLimits
from trainmaster.bot.watching.look import Looker
from trainmaster.bot.watching.resting import RestingRuns
from trainmaster.bot.watching.supervisor import Supervisor
from trainmaster.bot.wiring.people import slack_access
from trainmaster.bot.wiring.telling import Telling
from trainmaster.bot.wiring.wires import Later, Wires


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where runs live, and which of several bots acts on those below ``runs_dir``."""

    runs_dir: Path
    driver: RoutingDriver
    host: HostWatch
    lease: Lease

    def hands_off(self, place: Path) -> str:
        """Why this bot only watches the run there; empty while it may act."""
        # An adopted run elsewhere is recorded in this bot's own STATE_DIR: no RUNS_DIR is needed to act on it.
        return "" if self.lease.away and not place.is_relative_to(self.runs_dir) else self.lease.why_not()


def wire_places(settings: Settings, wires: Wires, telling: Telling, later: Later) -> Places:
    """The host, its cluster, and the lease on RUNS_DIR."""
    interval_s = settings.part(WatchLimits).check_interval_s
    return Places(
        runs_dir=settings.runs_dir,
        driver=driver_of(settings.state_dir / "launches", slurm=settings.slurm, look_s=interval_s),
        host=HostWatch(
            probe=HostProbe(lambda: _disks(settings, later.supervisor)),
            sink=telling.sink,
            limits=settings.part(HostLimits),
            clock=wires.clock,
        ),
        lease=Lease(settings.runs_dir, tells=_voice(settings)),
    )


def wire_supervisor(settings: Settings, wires: Wires, telling: Telling, places: Places, looks: RunLooks) -> Supervisor:
    """What reads and checks every run."""
    driver = places.driver
    return Supervisor(
        find_runs=lambda: (*find_runs(settings.runs_dir), *find_adoptions(settings.state_dir)),
        open_reader=_Readers(settings, telling.alerts, wires).open,
        looker=Looker(
            inspector=driver,
            limits=settings.part(CheckLimits),
            clock=wires.clock,
            stacks=Stacks(driver.local.signal),
            trainers=TrainerProcesses(
                check_user=settings.owner_check != "off", seen=driver.local.environments.remember
            ),
            hands_off=places.hands_off,
            next_start=driver.next_start,
        ),
        sink=telling.sink,
        operations=looks,
        resting=RestingRuns(telling.pipeline, looks),
        together=lambda: _one_commit(telling.database),
    )


def _voice(settings: Settings) -> str:
    """Two bots have it in common when they tell the same channel as the same app. It tells nothing of the token."""
    access = slack_access(settings)
    words = (access.api_url, access.bot_token, access.channel)
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


class _Readers:
    """Opens the reader of a place: a run directory, or the record of an adopted run."""

    def __init__(self, settings: Settings, alerts: AlertStore, wires: Wires) -> None:
        self._alerts = alerts
        self._wires = wires
        self._ownership = Ownership(check=OwnerCheck(settings.owner_check), root=settings.runs_dir)

    def open(self, place: Path) -> RunReader | AdoptedReader:
        """Its reader, which knows when the place was first seen."""
        seen_ts, steady, ownership = self._wires.clock.now(), time.monotonic, self._ownership
        with contextlib.suppress(StoreError):  # the sink says so; watching goes on
            seen_ts = self._alerts.first_seen(str(place), seen_ts)
        adoption = read_adoption(place) if place.suffix == ".json" else None
        if adoption is not None:
            return AdoptedReader(adoption, first_seen_ts=seen_ts, record=place, steady=steady, ownership=ownership)
        ahead = self._wires.read_ahead
        return RunReader(place, first_seen_ts=seen_ts, steady=steady, ownership=ownership, read_ahead=ahead)


def _disks(settings: Settings, supervisor: Supervisor) -> dict[str, Path]:
    """The directories whose disks matter, by what they hold."""
    adopted = {
        view.name: view.directory
        for view in supervisor.all()
        if view.state.active and not view.directory.is_relative_to(settings.runs_dir)
    }
    return {"RUNS_DIR": settings.runs_dir, "STATE_DIR": settings.state_dir, **adopted}


@contextlib.contextmanager
def _one_commit(database: Database) -> Iterator[None]:
    """What is written within costs one sync, and nothing when the database can't be used."""
    with contextlib.suppress(StoreError), contextlib.ExitStack() as stack:
        with contextlib.suppress(StoreError):
            stack.enter_context(database.transaction())
        yield
