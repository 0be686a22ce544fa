"""How a run starts and ends, and what the trainer itself put right or could not: told once each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from trainmaster.bot.checks.limits import CheckLimits
from trainmaster.bot.checks.memory import remembered
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import Button, ButtonStyle
from trainmaster.bot.core.conversation.words import capitalized, counted, number_text
from trainmaster.bot.core.decisions.buttons import resume_button, rollback_button
from trainmaster.bot.core.run.death import met_its_limit
from trainmaster.bot.core.run.facts import Event, ProcessStatus
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.job import EndCause
from trainmaster.bot.core.run.state import later_start_died
from trainmaster.bot.core.run.view import RunView, stands_at
from trainmaster.trainer.contract import EventKind

Teller = Callable[[RunView, Event], Finding]

MAX_FILES_SHOWN: Final = 5
"""Of files that are not trained on; the list in the run directory has all."""


@remembered(of=lambda view: (view.notable, view.epochs, view.attempt, _job_state(view)))
def check_lifecycle(view: RunView, limits: CheckLimits, now: float) -> tuple[Finding, ...]:
    """One occurrence for each notable event that this version knows. How an earlier attempt ended, and what went wrong
    for that one alone, is over once the newest attempt trains; a stop of one that does not yet was part of an
    operation, which tells it step by step."""
    told = (event for event in view.notable if event.kind in _TELLERS)
    return tuple(
        _ended(view, event, _TELLERS[event.kind](view, event))
        for event in told
        if not (event.kind == EventKind.RUN_STOPPED and _is_no_stop(view, event))
    )


def _ended(view: RunView, event: Event, finding: Finding) -> Finding:
    """Over: what an earlier attempt alone had, once the newest one has begun an epoch; and what the trainer says is."""
    if (notice := _mended(view, event)) is not None:
        return replace(finding, over=True, resolution=f"{view.name}: {notice.text('text')}")
    if event.kind not in _ATTEMPTS_OWN or event.attempt >= view.attempt or view.current is None:
        return finding
    return replace(finding, over=True, resolution=f"{view.name}: trains again, in attempt {view.attempt}")


def _mended(view: RunView, event: Event) -> Event | None:
    """The notice that what could not be written can be again."""
    if event.kind != EventKind.STORAGE_FAULT or not (what := event.text("what")):
        return None
    later = (one for one in view.notable if one.attempt == event.attempt and one.seq > event.seq)
    return next((one for one in later if one.kind == EventKind.NOTICE and one.text("what") == what), None)


def _job_state(view: RunView) -> ProcessStatus | None:
    return view.process.status if view.process is not None and view.process.job is not None else None


def _is_no_stop(view: RunView, event: Event) -> bool:
    """Whether the stop was part of something that is told for itself: an operation, or what a cluster did. It asks the
    trainer of a job that it takes for another one, or queues again, as a person does; what it does next is known once
    the job is over, or goes on."""
    earlier = event.attempt < view.attempt
    if earlier and view.current is None:
        return True
    job = view.record.job if view.record is not None else None
    if job is None:
        return False
    if earlier:
        return job.restart > 0
    over = view.process is not None and view.process.over
    return not over or (view.record is not None and later_start_died(view.record, view.process))


def _occurrence(
    view: RunView,
    event: Event,
    severity: Severity,
    title: str,
    *,
    body: tuple[str, ...] = (),
    fields: tuple[tuple[str, str], ...] = (),
    excerpt: str = "",
    hint: str = "",
    buttons: tuple[Button, ...] = (),
) -> Finding:
    return Finding(
        run=view.run,
        check=CheckName(event.kind),
        key=f"attempt{event.attempt}/{event.seq}",
        severity=severity,
        nature=Nature.OCCURRENCE,
        ts=event.ts,
        title=f"{view.name}: {title}",
        body=body,
        fields=fields,
        excerpt=excerpt,
        hint=hint,
        buttons=buttons,
    )


def _started(view: RunView, event: Event) -> Finding:
    from_epoch = event.integer("from_epoch")
    again = f"resumed with epoch {from_epoch}" if from_epoch is not None else "started"
    return _occurrence(
        view,
        event,
        Severity.INFO,
        f"training {again}, level {event.text('level') or 'unknown'}",
        fields=(
            ("Attempt", f"{event.attempt}"),
            ("Epochs", f"{event.integer('epochs') or 'unknown'}"),
            ("Host", event.text("host") or "unknown"),
        ),
        hint="/train status",
    )


def _finished(view: RunView, event: Event) -> Finding:
    seconds, fitness, epochs = event.number("seconds"), event.number("fitness"), event.integer("epochs")
    return _occurrence(
        view,
        event,
        Severity.INFO,
        f"training finished after {counted(epochs, 'epoch') if epochs else '? epochs'}",
        fields=(
            ("Took", duration(seconds) if seconds is not None else "unknown"),
            ("Fitness", number_text(fitness) if fitness is not None else "unknown"),
            ("Bad batches", f"{view.num_bad:,} ({view.num_skipped:,} skipped)" if view.num_bad else "none"),
        ),
        hint="/train status",
    )


def _known(event: Event, key: str, form: str = "") -> str:
    number = event.integer(key)
    return "?" if number is None else f"{number:{form}}"


def _stopped(view: RunView, event: Event) -> Finding:
    resumable, why = event.flag("resumable"), event.text("why")
    stands = "" if resumable else stands_at(view, event.attempt)
    if stands:
        return _occurrence(
            view,
            event,
            Severity.INFO,
            "training stopped on request before it had trained anything",
            body=(f"The run stands where it stood, {stands}, and can be resumed from there.",),
            hint="/train resume",
            buttons=(resume_button(view.run, event.attempt),),
        )
    at_limit = event.attempt == view.attempt and met_its_limit(view)
    asked = "before its job's time limit" if at_limit else "on request"
    return _occurrence(
        view,
        event,
        Severity.INFO if resumable or why else Severity.WARNING,
        f"training stopped {asked} at epoch {_known(event, 'epoch')}, batch {_known(event, 'batch', ',')}",
        body=(
            why
            or (
                "Its full state is saved; it can be resumed where it stopped."
                if resumable
                else "It can't be resumed from here."
            ),
            *_job_text(view),
        ),
        hint="/train resume" if resumable else "/train execute rollback",
        buttons=(
            resume_button(view.run, event.attempt) if resumable else rollback_button(view.run, ButtonStyle.DANGER),
        ),
    )


def _job_text(view: RunView) -> tuple[str, ...]:
    """What the cluster says of the end."""
    job = view.process.job if view.process is not None else None
    if job is None or job.cause in {None, EndCause.FAILED}:  # which Slurm calls every exit code but 0
        return ()
    return (f"Slurm says: {job.cause.text}.",)


def _gave_up(view: RunView, event: Event) -> Finding:
    skipped = event.integer("skipped_epoch") or 0
    after = f" after {counted(skipped, 'bad batch', 'bad batches')}" if skipped else ""
    return _occurrence(
        view,
        event,
        Severity.CRITICAL,
        f"gave up{after} in epoch {_known(event, 'epoch')}",
        body=(*_why(event.text("why") or "", skipped), "Nothing trains until somebody decides."),
        fields=(
            ("Batch", _known(event, "batch", ",")),
            ("Skipped in a row", f"{event.integer('streak') or 0:,}"),
        ),
        hint="/train execute rollback",
        buttons=(rollback_button(view.run, ButtonStyle.DANGER),),
    )


def _why(why: str, num_told: int) -> tuple[str, ...]:
    """The reason, without the number of bad batches that the title tells."""
    if not why:
        return ("It gave no reason.",)
    parts = [part for part in why.split("; ") if not (num_told and part.startswith(f"{num_told} bad batch"))]
    told = "; ".join(parts)
    return (f"{capitalized(told)}.".replace("..", "."),) if told else ()


def _refused(view: RunView, event: Event) -> Finding:
    return _occurrence(
        view,
        event,
        Severity.CRITICAL,
        f"the trainer refused {Path(event.text('checkpoint') or 'its checkpoint').name}: "
        f"{event.text('verdict') or 'unknown'}",
        body=(*event.texts("reasons"), "Nothing trains until somebody decides."),
        hint="/train execute rollback",
        buttons=(rollback_button(view.run, ButtonStyle.DANGER),),
    )


def _crashed(view: RunView, event: Event) -> Finding:
    return _occurrence(
        view,
        event,
        Severity.CRITICAL,
        "training crashed",
        body=(event.text("error") or "It gave no error.",),
        excerpt=event.text("traceback") or "\n".join(event.texts("traceback")),
        hint="/train execute rollback",
        buttons=(rollback_button(view.run, ButtonStyle.DANGER),),
    )


def _out_of_memory(view: RunView, event: Event) -> Finding:
    before, after = event.integer("batch_size_before"), event.integer("batch_size_after")
    return _occurrence(
        view,
        event,
        Severity.WARNING,
        "out of memory: Ultralytics halved the batch size" + (f" from {before} to {after}" if before and after else ""),
        body=("Training goes on with the smaller batch; the learning rate was set for the larger one.",),
    )


_UNREADABLE_DURING: Final = {
    "batch": "could not be read during training",
    "val_batch": "could not be read during validation",
}


def _data_fault(view: RunView, event: Event) -> Finding:
    count, where = event.integer("count") or 0, event.text("where") or "data"
    what = _UNREADABLE_DURING.get(where, f"{'is' if count == 1 else 'are'} left out of the {where} set")
    pairs = zip(event.texts("files"), event.texts("reasons"), strict=False)
    return _occurrence(
        view,
        event,
        Severity.WARNING,
        f"{counted(count, 'file')} {what}",
        body=tuple(f"{Path(file).name}: {why}" for file, why in list(pairs)[:MAX_FILES_SHOWN]),
        hint=f"see {event.text('list')}" if event.text("list") else "check that the disk with the data is there",
    )


def _storage_fault(view: RunView, event: Event) -> Finding:
    what = event.text("what") or "a record"
    own = "Training goes on; older clean checkpoints are untouched. Free some space."
    return _occurrence(
        view,
        event,
        Severity.CRITICAL,
        f"{what} could not be written",
        # What is said of copies names their place and says what goes on; it may want no space at all.
        body=(event.text("error") or "", *(() if what.startswith("copies") else (own,))),
    )


_HEALED: Final = {"ema": "averaged weights", "batchnorm": "batch-norm statistics", "scaler": "gradient scaler"}


def _healed(view: RunView, event: Event) -> Finding:
    tensors, what = event.integer("tensors"), event.text("what") or "state"
    return _occurrence(
        view,
        event,
        Severity.WARNING,
        f"impossible values in the {_HEALED.get(what, what)} were put right",
        body=(f"{counted(tensors, 'tensor') if tensors else 'Some tensors'}, at epoch {event.integer('epoch')}.",),
        hint=f"/train epoch {event.integer('epoch')} progress",
    )


_ENDS: Final = frozenset({EventKind.RUN_STOPPED, EventKind.RUN_GAVE_UP, EventKind.RUN_REFUSED, EventKind.RUN_CRASHED})
_ATTEMPTS_OWN: Final = _ENDS | {EventKind.STORAGE_FAULT, EventKind.OUT_OF_MEMORY}
"""What the next attempt tells anew if it meets it, too. Files that can't be trained on are told once."""
_TELLERS: Mapping[str, Teller] = {
    EventKind.RUN_STARTED: _started,
    EventKind.RUN_FINISHED: _finished,
    EventKind.RUN_STOPPED: _stopped,
    EventKind.RUN_GAVE_UP: _gave_up,
    EventKind.RUN_REFUSED: _refused,
    EventKind.RUN_CRASHED: _crashed,
    EventKind.OUT_OF_MEMORY: _out_of_memory,
    EventKind.DATA_FAULT: _data_fault,
    EventKind.STORAGE_FAULT: _storage_fault,
    EventKind.STATE_HEALED: _healed,
}
