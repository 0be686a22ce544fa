"""Which checkpoint to go back to, or why none will do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

from trainmaster.bot.core.decisions.plan import Target
from trainmaster.bot.core.run.facts import CheckpointFact
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError
from trainmaster.trainer.contract import EPOCH_FILE, Verdict

_STATE = "state"
_OVERWRITTEN = ("weights/best.pt", "weights/last.pt")


def choose_target(view: RunView, catalog: Sequence[CheckpointFact], to_epoch: int | None) -> Target:
    """The newest clean checkpoint that training can go on from, or that of the epoch asked for.

    Raises:
        CommandError: there is none; says what there is instead and why that will not do.
    """
    ends = _ends(view, catalog)
    usable = _usable(ends)
    if to_epoch is not None and to_epoch not in usable:
        _refuse_epoch(ends, sorted(usable), to_epoch)
    if not usable:
        _refuse_all(view, ends)
    epoch = max(usable) if to_epoch is None else to_epoch
    fact, *others = usable[epoch]
    return Target(
        epoch=epoch,
        file=fact.file,
        sha256=fact.sha256 or "",
        size_bytes=fact.size_bytes or 0,
        verdict=fact.verdict,
        reasons=fact.reasons,
        fitness=fact.fitness if fact.fitness is not None and math.isfinite(fact.fitness) else None,
        saved_ts=fact.ts,
        exact=fact.kind == _STATE,
        companions=tuple((other.file, other.sha256 or "") for other in others),
    )


def rollback_epochs(view: RunView, catalog: Sequence[CheckpointFact]) -> tuple[int, ...]:
    """The epochs that a rollback can go to, in order."""
    return tuple(sorted(_usable(_ends(view, catalog))))


def _ends(view: RunView, catalog: Sequence[CheckpointFact]) -> list[CheckpointFact]:
    guarded = view.record is None or view.record.guarded
    return [fact for fact in catalog if _is_of_epoch_end(fact) or (not guarded and _is_of_some_epoch(fact))]


def _usable(ends: Sequence[CheckpointFact]) -> dict[int, tuple[CheckpointFact, ...]]:
    return {number: files for number in {fact.epoch for fact in ends if fact.epoch} if (files := _files(ends, number))}


def _is_of_epoch_end(fact: CheckpointFact) -> bool:
    """Whether the file was saved at the end of an epoch and stays: ``last.pt``, ``best.pt`` and what a stop saved are
    overwritten or belong to no epoch's end."""
    return fact.epoch is not None and fact.epoch >= 1 and EPOCH_FILE.fullmatch(fact.file) is not None


def _is_of_some_epoch(fact: CheckpointFact) -> bool:
    """Whether an unguarded run may be taken back to it: it often keeps nothing but these two."""
    return fact.epoch is not None and fact.epoch >= 1 and fact.file in _OVERWRITTEN


def _preference(fact: CheckpointFact) -> tuple[int, str]:
    """As the trainer's ``restore`` chooses among files of one epoch (trainer/checkpoints/catalog.py)."""
    return (_OVERWRITTEN.index(fact.file) + 1 if fact.file in _OVERWRITTEN else 0, fact.file)


def _files(ends: Sequence[CheckpointFact], epoch: int) -> tuple[CheckpointFact, ...]:
    """The files that a rollback to ``epoch`` uses, the one that training goes on from first; empty unless all of them
    are clean. Ultralytics' own format must be among them, since that is what a resume starts from."""
    there = [fact for fact in ends if fact.epoch == epoch]
    own = sorted((fact for fact in there if fact.kind != _STATE), key=_preference)[:1]
    files = [*(fact for fact in there if fact.kind == _STATE), *own]
    clean = all(fact.verdict is Verdict.CLEAN and fact.resumable and fact.sha256 for fact in files)
    return tuple(files) if own and clean else ()


def _refuse_epoch(ends: Sequence[CheckpointFact], epochs: Sequence[int], to_epoch: int) -> NoReturn:
    there = [fact for fact in ends if fact.epoch == to_epoch]
    clean = f"clean ones: epoch {', '.join(map(str, epochs))}" if epochs else "there is no clean one at all"
    if not there:
        raise CommandError("epoch-unknown", f"there is no checkpoint of epoch {to_epoch}; {clean}.", "/train status")
    worst = max(there, key=lambda fact: fact.verdict is Verdict.CONTAMINATED)
    raise CommandError(
        f"checkpoint-{worst.verdict}",
        f"the checkpoint of epoch {to_epoch} is {worst.verdict}: {_reasons(worst)}; {clean}.",
        "/train status",
    )


def _refuse_all(view: RunView, ends: Sequence[CheckpointFact]) -> NoReturn:
    if not ends:
        raise CommandError(
            "no-checkpoint",
            f"run {view.name} has no checkpoint of a finished epoch yet, so there is nothing to go back to.",
            "stop it with /train stop now and start anew with a stricter level",
        )
    order = {Verdict.CLEAN: 2, Verdict.UNKNOWN: 1, Verdict.CONTAMINATED: 0}
    best = max(ends, key=lambda fact: (order[fact.verdict], -len(fact.reasons), fact.epoch or 0))
    raise CommandError(
        "no-clean-checkpoint",
        f"no checkpoint of {view.name} is clean and resumable, of {len(ends):,}. The least bad is epoch "
        f"{best.epoch} ({best.file}), {best.verdict}: {_reasons(best)}.",
        "stop it with /train stop now; a person must decide whether to start anew",
    )


def _reasons(fact: CheckpointFact) -> str:
    return "; ".join(fact.reasons) or ("it cannot be resumed" if fact.verdict is Verdict.CLEAN else "no reason given")
