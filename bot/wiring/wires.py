"""What the parts need of the process that runs them, and of parts that are made after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import StoreError
from trainmaster.bot.operations.service import Operations
from trainmaster.bot.ports import Clock
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.bot.watching.host import HostWatch
from trainmaster.bot.watching.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class Wires:
    """What the parts need of the process that runs them. ``notify`` says that the outbox has something new, ``faults``
    what the delivery can't get rid of."""

    clock: Clock
    notify: Callable[[], None]
    faults: Callable[[], tuple[str, ...]]
    held_back_s: Callable[[], float]
    """As :meth:`trainmaster.bot.alerting.deliver.Deliverer.held_back_s`."""
    read_ahead: Callable[[Path], RunReader | None] | None = None


@dataclass(slots=True, kw_only=True)
class Later:
    """What parts ask of others that are made after them. Nobody asks before all of them are there."""

    host: HostWatch = field(init=False)
    supervisor: Supervisor = field(init=False)
    operations: Operations = field(init=False)

    def planned(self, run: str, view: RunView | None = None) -> tuple[str, ...]:
        """What a card and status say is planned; nothing while the database can't be read: alerts are told all the
        same."""
        try:
            return self.operations.planned(run, view)
        except StoreError:
            return ()

    def name_of(self, run: str) -> str:
        """What people call the run of that id; the id where it is not watched."""
        view = self.supervisor.find(run)
        return view.name if view is not None and view.run == run else run
