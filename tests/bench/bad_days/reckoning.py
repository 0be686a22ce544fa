"""What ten bad days cost: from the batches that were trained, the alerts that were told, and who had to get up."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.bad_days.scenario import ENDS_THE_TRAINER, EPOCH_S, Fault, Planned
from tests.bench.bad_days.worlds import Kind, Tale
from trainmaster.trainer.contract import RunLayout

LATE_S: Final = 60.0
"""From a fault to its alert in the channel, without what Slack was away."""
TOLD_BY: Final = {
    Fault.NAN: {"nonfinite"},
    Fault.STORM: {"nonfinite", "run_gave_up"},
    Fault.IMAGE: {"data_fault"},
    Fault.KILL: {"process_died"},
    Fault.MEMORY: {"process_died"},
    Fault.TORN: {"process_died"},
    Fault.POWER: {"process_died"},
    Fault.HANG: {"stalled"},
    Fault.DISK: {"storage_fault"},
    Fault.PREEMPTED: {"run_stopped"},
    Fault.LIMIT: {"run_stopped"},
}
"""By any of which a fault counts as told."""
NO_FAULT: Final = {"run_started", "run_finished", "epoch_finished", "run_stopped"}
CALLS: Final = {"critical", "warning"}
_ROW: Final = re.compile(r"(\d{1,10}\.\d{1,3}) (\d+) (\d+)")
PACE_S: Final = 5.0
"""Between two batches of one attempt, from which on no pause belongs to training: validation and saving take less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reckoned:
    """Seconds are of ten days; ``down_s`` was waited for in real ones."""

    kind: Kind
    finished: bool
    retrained: int
    cut: int
    """Ends without a state saved at the end: here between two batches, anywhere within one in a real run."""
    skipped: int
    down_s: float
    waited_s: float
    ideal_s: float
    batches: int
    persons: tuple[str, ...]
    false_alarms: tuple[str, ...]
    """What no fault explains and the undisturbed run does not have."""
    own_alarms: tuple[str, ...]
    """What no fault explains and the undisturbed run has, too: the training is so."""
    late: tuple[str, ...]

    @property
    def lost_s(self) -> float:
        """Training that was done again or not done yet, half a batch for each end that cut one, and everything that was
        no training."""
        return (self.retrained + self.cut / 2) / self.batches * EPOCH_S + self.down_s + self.waited_s

    @property
    def share(self) -> float:
        """Of the time, spent on training that counts."""
        return self.ideal_s / (self.ideal_s + self.lost_s)


def trained_rows(folder: Path) -> list[tuple[float, int, int]]:
    """When, by which process and which batch was trained in the world in ``folder``. What a kill left half written is
    none."""
    found = map(_ROW.fullmatch, (folder / "trained.log").read_text(encoding="utf-8").splitlines())
    return [(float(row[1]), int(row[2]), int(row[3])) for row in found if row]


def reckon(tale: Tale, folder: Path, plan: Sequence[Planned], own: frozenset[str] = frozenset()) -> Reckoned:
    """What ``tale`` cost; ``own`` are the :func:`own_alarms` of the undisturbed run."""
    rows = trained_rows(folder)
    done = {batch for _, _, batch in rows}
    down_s = sum(
        after[0] - before[0]
        for before, after in itertools.pairwise(rows)
        if after[1] != before[1] or after[0] - before[0] > PACE_S
    )
    missing = tale.batches * tale.epochs - len(done)
    late = () if tale.kind is Kind.STOCK else _late(tale, folder, plan)
    unexplained = () if tale.kind is Kind.STOCK else _unexplained(folder)
    return Reckoned(
        kind=tale.kind,
        finished=tale.finished,
        retrained=len(rows) - len(done) + missing,
        cut=sum(one.fault in _cuts(tale.kind) for one in plan if one.number in tale.happened),
        skipped=len(_skipped(folder)),
        down_s=down_s,
        waited_s=tale.waited_s,
        ideal_s=EPOCH_S * tale.epochs,
        batches=tale.batches,
        persons=tuple(tale.persons),
        false_alarms=tuple(one for one in unexplained if one not in own),
        own_alarms=tuple(one for one in unexplained if one in own),
        late=late,
    )


def _skipped(folder: Path) -> set[tuple[int, int]]:
    events = RunLayout(next(iter((folder / "runs").iterdir()))).events
    if not events.exists():
        return set()
    rows = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    return {(one["epoch"], one["batch"]) for one in rows if one["kind"] == "bad_batch" and one["action"] == "skipped"}


def _cuts(kind: Kind) -> frozenset[Fault]:
    """Which faults end the trainer in the middle of a batch: guarded, one that is asked to end saves first."""
    return ENDS_THE_TRAINER - (frozenset() if kind is Kind.STOCK else {Fault.PREEMPTED, Fault.LIMIT}) - {Fault.STORM}


def own_alarms(folder: Path) -> frozenset[str]:
    """What the bot called people for without a fault of the scenario, in the world in ``folder``."""
    return frozenset(_unexplained(folder))


def _unexplained(folder: Path) -> tuple[str, ...]:
    """By check, severity and epoch, whichever attempt it was."""
    with contextlib.closing(sqlite3.connect(folder / "state" / "trainmaster.sqlite3")) as database:
        rows = database.execute("SELECT check_name, severity, fingerprint FROM alerts").fetchall()
    asked_for = NO_FAULT.union(*TOLD_BY.values())
    return tuple(
        f"{check} ({severity}) {' '.join(one for one in key.split('/')[2:] if one.startswith('epoch'))}".strip()
        for check, severity, key in rows
        if severity in CALLS and check not in asked_for
    )


def _late(tale: Tale, folder: Path, plan: Sequence[Planned]) -> tuple[str, ...]:
    with contextlib.closing(sqlite3.connect(folder / "state" / "trainmaster.sqlite3")) as database:
        rows = database.execute("SELECT check_name, since_ts, told_ts FROM alerts").fetchall()
        begun = [ts for (ts,) in database.execute("SELECT created_ts FROM operations")]
    late = []
    away_from, away_to = tale.outage
    for one in plan:
        at = tale.happened.get(one.number)
        if at is None or one.fault not in TOLD_BY:
            continue
        allowed = at + LATE_S + (away_to - away_from if away_from <= at + LATE_S and at <= away_to else 0.0)
        told = [told for check, since, told in rows if check in TOLD_BY[one.fault] and since >= at - 2.0 and told]
        if one.fault in ENDS_THE_TRAINER:  # a start by itself has a message of its own, in place of the alert
            told += [ts for ts in begun if ts >= at]
        if not told or min(told) > allowed:
            late.append(f"{one.fault}" + (f": {min(told) - at:.0f} s" if told else ": never"))
    return tuple(late)
