"""What happened in a run, as lines with a time: for the feed at the bottom of the dashboard. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final, NamedTuple

from rich.style import Style

from trainmaster.bot.core.conversation.words import REASON_TEXT, counted, number_text
from trainmaster.bot.core.run.facts import Event
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.view import EpochView, RunView
from trainmaster.bot.terminal.canvas import BAD, GOOD, PLAIN, WARNING
from trainmaster.trainer.contract import EventKind, Verdict

MAX_HAPPENINGS: Final = 200
_MAX_FILES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """``ts`` is None where only the order is known: of a log that was written before it was watched. ``files`` are the
    names of those that it is about."""

    ts: float | None
    order: float
    run: str
    text: str
    style: Style
    files: tuple[str, ...] = ()


def happenings(view: RunView) -> list[Happening]:
    """The newest of the run, in order. Their text is foreign: it is made harmless where it is drawn."""
    known_until = None if view.guarded else view.first_seen_ts
    found = [_of_event(event) for event in view.notable]
    for epoch in view.epochs.values():
        found += _of_epoch(epoch)
    for checkpoint in view.checkpoints:
        if checkpoint.verdict is not Verdict.CLEAN and checkpoint.ts is not None:
            why = f": {checkpoint.reasons[0]}" if checkpoint.reasons else ""
            style = BAD if checkpoint.verdict is Verdict.CONTAMINATED else WARNING
            found.append(_Found(checkpoint.ts, f"{checkpoint.file} is {checkpoint.verdict}{why}", style))
    found += [_Found(error.ts, f"console: {error.detail}", BAD) for error in view.log_errors]
    found.sort(key=lambda one: one.ts)
    return [
        Happening(
            ts=None if known_until is not None and one.ts <= known_until else one.ts,
            order=one.ts,
            run=view.name,
            text=one.text,
            style=one.style,
            files=one.files,
        )
        for one in found[-MAX_HAPPENINGS:]
    ]


class _Found(NamedTuple):
    ts: float
    text: str
    style: Style
    files: tuple[str, ...] = ()


def _of_event(event: Event) -> _Found:
    text, style = _told(event)
    return _Found(event.ts, text, style, _names(event.texts("files")) if event.kind == EventKind.DATA_FAULT else ())


def _names(paths: Sequence[str]) -> tuple[str, ...]:
    """The files' own names: of a path that is cut, the first folders would be left."""
    return tuple(PurePath(path).name or path for path in paths[:_MAX_FILES])


def _of_epoch(epoch: EpochView) -> Iterable[_Found]:
    for bad in epoch.bad_batches:
        batch = f"{bad.batch:,} of {epoch.batches:,}" if epoch.batches else f"{bad.batch:,}"
        action = {"skipped": "skipped", "recomputed": "run again and good"}.get(bad.action, "not skipped")
        drill = " (drill)" if bad.drill else ""
        text = f"bad batch {batch}, epoch {bad.epoch}: {REASON_TEXT.get(bad.reason, bad.reason)}; {action}"
        yield _Found(bad.ts, f"{text}{drill}", WARNING if bad.skipped or bad.recomputed else BAD, _names(bad.images))
    if epoch.finished_ts is not None:
        parts = [f"epoch {epoch.epoch} finished"]
        if epoch.seconds is not None and epoch.seconds >= 0:
            parts.append(f"in {duration(epoch.seconds)}")
        if epoch.total_loss is not None:
            parts.append(f"loss {number_text(epoch.total_loss)}")
        if epoch.fitness is not None:
            parts.append(f"fitness {number_text(epoch.fitness)}")
        odd = epoch.nonfinite_columns
        yield _Found(epoch.finished_ts, f"{parts[0]} {', '.join(parts[1:])}".strip(), BAD if odd else PLAIN)


def _told(event: Event) -> tuple[str, Style]:
    kind = event.kind
    epoch, batch = event.integer("epoch"), event.integer("batch")
    place = f" in epoch {epoch}" + (f", batch {batch:,}" if batch else "") if epoch else ""
    if kind == EventKind.RUN_STARTED:
        start = event.integer("from_epoch")
        return f"attempt {event.attempt} started" + (f" with epoch {start}" if start else ""), GOOD
    if kind == EventKind.GRADIENT_WARNING:
        return f"gradient norm {_number(event, 'grad_norm')}, usually {_number(event, 'median')}{place}", WARNING
    if kind == EventKind.STATE_HEALED:
        count = counted(event.integer("tensors") or 0, "tensor")
        return f"{event.text('what') or 'state'} healed: {count}{place}", WARNING
    if kind == EventKind.OUT_OF_MEMORY:
        before, after = event.integer("batch_size_before"), event.integer("batch_size_after")
        return "out of memory" + (f": batch size {before} is now {after}" if before and after else ""), BAD
    if kind == EventKind.DATA_FAULT:
        return f"{counted(event.integer('count') or 0, 'image')} can't be used", WARNING
    if kind == EventKind.STORAGE_FAULT:
        return f"{event.text('what') or 'a record'} could not be written: {event.text('error') or '?'}", BAD
    if kind == EventKind.NOTICE:
        return event.text("text") or "notice", PLAIN
    return _ended(event, place)


def _ended(event: Event, place: str) -> tuple[str, Style]:
    kind = event.kind
    if kind == EventKind.STOP_REQUESTED:
        return f"asked to stop{place}", WARNING
    if kind == EventKind.RUN_STOPPED:
        return f"stopped{place}", WARNING
    if kind == EventKind.RUN_GAVE_UP:
        return f"gave up{place}: {event.text('why') or 'too many bad batches'}", BAD
    if kind == EventKind.RUN_REFUSED:
        return f"refused to go on from {event.text('checkpoint') or 'its checkpoint'}: not clean", BAD
    if kind == EventKind.RUN_FINISHED:
        return "run finished", GOOD
    if kind == EventKind.RUN_CRASHED:
        return f"crashed: {event.text('error') or 'no word why'}", BAD
    return str(kind).replace("_", " "), PLAIN


def _number(event: Event, key: str) -> str:
    value = event.number(key)
    return "?" if value is None else number_text(value)
