"""Which full states of a run stay. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from trainmaster.trainer.checkpoints.files import SavedFile, copy_verified, sweep_partials
from trainmaster.trainer.checkpoints.ledger import Attestation, attestations, latest_by_file
from trainmaster.trainer.contract import EPOCH_FILE, RunLayout, Verdict, read_json

ULTRALYTICS_COPY: Final = "epoch{:04d}.ultralytics.pt"
"""By the epoch from 1."""

STOP_NAME: Final = "stop.pt"
SNAPSHOT_NAME: Final = "snapshot.pt"
"""Of the epoch in work, renewed every ``snapshot_s``; what a kill leaves behind."""
WITHIN_EPOCH: Final = (STOP_NAME, SNAPSHOT_NAME)
"""States that belong to no epoch's end."""

_INCIDENTS_READ: Final = 20
"""The first ones: later incidents are of the same epoch or of later ones, but for what a rollback repeated."""


def ultralytics_copy(layout: RunLayout, epoch: int) -> Path:
    """Where our copy of Ultralytics' checkpoint of ``epoch`` (from 1) lies, beside the full state of that epoch."""
    return layout.states / ULTRALYTICS_COPY.format(epoch)


def keep_copy(layout: RunLayout, epoch: int, *, expected: SavedFile) -> Path:
    """``weights/last.pt`` as it is now is kept as the Ultralytics checkpoint of ``epoch``; the copy's path.

    Raises:
        DigestError: ``last.pt`` does not hold ``expected``; nothing is kept.
        OSError: no space; nothing is kept and ``last.pt`` is untouched.
    """
    target = ultralytics_copy(layout, epoch)
    target.parent.mkdir(parents=True, exist_ok=True)
    copy_verified(layout.weights / "last.pt", target, expected=expected)
    return target


def epochs_on_disk(layout: RunLayout) -> list[int]:
    """Epochs (from 1) of which a full state is there, ascending."""
    try:
        names = [path.name for path in layout.states.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(epoch for name in names if (epoch := state_epoch(name)) is not None)


def state_epoch(name: str) -> int | None:
    """The epoch (from 1) of the full state called ``name`` in ``guard/states/``; None for any other file there."""
    match = EPOCH_FILE.fullmatch(f"guard/states/{name}")
    return int(match[1]) if match is not None and match[2] is None else None


def retain(layout: RunLayout, *, keep: int) -> list[Path]:
    """Full states and their Ultralytics copies are down to the ones worth having; what was removed, in order.

    What stays is what a way back may need: the newest ``keep`` epochs; of the clean ones the newest, the best by
    fitness, the newest from before the first incident, and a spread of older ones, one for each power of two epochs
    back. So a run of 1,000 epochs keeps about ``keep`` + 12. Files that a killed process left half-written go too.
    States within an epoch and files of other names are nobody's business here. Only for the trainer that owns the run
    directory.
    """
    epochs = epochs_on_disk(layout)
    kept = set(epochs[-keep:]) if keep > 0 else set()
    rows = latest_by_file(attestations(layout))
    clean = [epoch for epoch in epochs if _is_clean(layout, rows, epoch)]
    kept.update(clean[-1:])
    rated = [(fitness, epoch) for epoch in clean if (fitness := _fitness(layout, rows, epoch)) is not None]
    if rated:
        kept.add(max(rated)[1])
    if keep > 0:
        kept.update(_spread(clean, newest=epochs[-1] if epochs else 0))
        incident = _first_incident(layout, rows)
        kept.update([epoch for epoch in clean if incident is not None and epoch < incident][-1:])
    doomed = [path for epoch in epochs if epoch not in kept for path in _files_of(layout, epoch)]
    for path in doomed:
        path.unlink(missing_ok=True)
    return [*doomed, *sweep_partials(layout.states, layout.weights)]


def _spread(clean: Sequence[int], *, newest: int) -> set[int]:
    """One epoch for each power of two back: the oldest that is from 2^k to below 2^(k+1) epochs old. Being the oldest,
    it is the next to move on, so that no age is left empty while the run goes on."""
    by_age: dict[int, int] = {}
    for epoch in reversed(clean):
        by_age[(newest - epoch).bit_length()] = epoch
    return set(by_age.values())


def _first_incident(layout: RunLayout, rows: Mapping[str, Attestation]) -> int | None:
    """The first epoch (from 1) that had a bad batch on record, or left a file that is not clean; None when none did."""
    epochs = [row.epoch for row in rows.values() if row.verdict is Verdict.CONTAMINATED and row.epoch is not None]
    try:
        folders = sorted(path for path in layout.incidents.iterdir() if path.name.isdigit())[:_INCIDENTS_READ]
        told = [(read_json(folder / "incident.json") or {}).get("epoch") for folder in folders]
    except OSError:
        told = []
    return min([*epochs, *(epoch for epoch in told if isinstance(epoch, int) and epoch >= 1)], default=None)


def _files_of(layout: RunLayout, epoch: int) -> list[Path]:
    return [path for path in (ultralytics_copy(layout, epoch), layout.state_file(epoch)) if path.exists()]


def _rows_of(layout: RunLayout, rows: Mapping[str, Attestation], epoch: int) -> list[Attestation]:
    names = [path.relative_to(layout.root).as_posix() for path in _files_of(layout, epoch)]
    return [rows[name] for name in names if name in rows]


def _is_clean(layout: RunLayout, rows: Mapping[str, Attestation], epoch: int) -> bool:
    """Whether all its files were attested clean; without a word on the full state it is not."""
    state = layout.state_file(epoch).relative_to(layout.root).as_posix()
    found = _rows_of(layout, rows, epoch)
    return state in {row.file for row in found} and all(row.verdict is Verdict.CLEAN for row in found)


def _fitness(layout: RunLayout, rows: Mapping[str, Attestation], epoch: int) -> float | None:
    values = [row.fitness for row in _rows_of(layout, rows, epoch) if row.fitness is not None]
    return max((value for value in values if math.isfinite(value)), default=None)
