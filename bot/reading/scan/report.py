"""A :class:`ScanReport` as a person likes to read it in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from trainmaster.bot.core.run.crash_advice import crash_advice
from trainmaster.bot.reading.scan.entries import NONFINITE_LOSS, NONFINITE_VALIDATION, SummaryEntry
from trainmaster.bot.reading.scan.scanner import ScanReport, ScanVerdict
from trainmaster.visible import visible_line

_RED, _YELLOW, _GREEN, _BOLD, _DIM, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[1m", "\x1b[2m", "\x1b[0m"
_SHOWN_ENTRIES = 20
_LATER = "; its process was ended later"
_TEXT_CHARACTERS = 100
_COLORS = {
    ScanVerdict.CRASHED: _RED,
    ScanVerdict.GAVE_UP: _RED,
    ScanVerdict.STOPPED_EARLY: _GREEN,
    ScanVerdict.COMPLETED: _GREEN,
    ScanVerdict.STOPPED_BY_USER: _YELLOW,
    ScanVerdict.STOPPED_ON_REQUEST: _YELLOW,
    ScanVerdict.NOT_FINISHED: _YELLOW,
}
"""Without a loss that is not finite."""


def render(report: ScanReport, *, name: str, color: bool) -> str:
    """The report with its verdict first; escape codes only with ``color``."""

    def paint(code: str, text: str) -> str:
        return f"{code}{text}{_PLAIN}" if color else text

    code, verdict = _verdict(report)
    lines = [paint(_BOLD, visible_line(name)), paint(code, verdict), ""]
    lines += [f"  {label:<11}{visible_line(value)}" for label, value in _facts(report)]
    advice = [f"  {line}" for line in _advice(report)]
    lines += ["", "What to do", *advice] if advice else []
    lines += _entries("Incidents", report.incidents, paint(_RED, "✗"))
    lines += _entries("Notices", report.notices, paint(_YELLOW, "·"))
    if not report.incidents:
        lines += ["", paint(_DIM, "No incidents.")]
    return "\n".join(lines) + "\n"


def _verdict(report: ScanReport) -> tuple[str, str]:
    verdict = report.verdict
    frames = report.num_nonfinite_frames
    said = [_count(frames, "non-finite loss frame")] if frames else []
    said += ["validation figures that are not finite"] if _first(report, NONFINITE_VALIDATION) else []
    nonfinite = f", with {' and '.join(said)}" if said else ""
    if verdict is ScanVerdict.NO_TRAINING:
        return _YELLOW, "No training frames of Ultralytics in this log"
    return (_RED if nonfinite else _COLORS[verdict]), f"{_said(report, verdict)}{nonfinite}"


def _said(report: ScanReport, verdict: ScanVerdict) -> str:
    detail = report.crash_detail or ""
    match verdict:
        case ScanVerdict.STOPPED_BY_USER:
            return "STOPPED BY THE USER (Ctrl-C)"
        case ScanVerdict.CRASHED:
            return f"CRASHED: {crash_advice(report.crash_kind, detail).what}: {_printable(detail)}"
        case ScanVerdict.STOPPED_ON_REQUEST:
            return f"STOPPED ON REQUEST: {report.stopped_by}; the guard ended the run in good order"
        case ScanVerdict.GAVE_UP:
            return f"THE GUARD GAVE UP: {_printable(report.gave_up or '')}"
        case ScanVerdict.STOPPED_EARLY:
            return f"STOPPED EARLY: its patience ran out{_LATER if report.ended_later else ''}"
        case ScanVerdict.COMPLETED:
            return f"COMPLETED{_LATER if report.ended_later else ''}"
        case _ if report.undrawn_since is not None:
            return f"NOT FINISHED: a new training was started at line {report.undrawn_since} and has drawn no frame"
        case _ if report.mixed_since is not None:
            return f"NOT KNOWN: several trainings write to this log from line {report.mixed_since} on"
        case _:
            return "NOT FINISHED: the log ends while training"


def _facts(report: ScanReport) -> Iterable[tuple[str, str]]:
    if report.service:
        yield "service", report.service
    for name, other in report.others:
        yield "another", f"{name}: {_verdict(other)[1]}"
    if report.last_epoch is not None:
        yield "epoch", _epoch(report.last_epoch, report.total_epochs)
    if report.last_batch is not None:
        yield "batch", _ratio(report.last_batch, report.total_batches)
    if report.losses:
        yield "losses", "  ".join(f"{name} {value:g}" for name, value in report.losses.items())
    first = _first(report, NONFINITE_LOSS)
    if first is not None:
        num_lines = report.nan_loss_lines - report.earlier_nan_loss_lines
        frames = f"{_count(report.num_nonfinite_frames, 'frame')} on {_count(num_lines, 'line')}"
        yield "non-finite", f"{frames}, first at {_place(first)}"
    elif report.losses and not (report.undrawn_since and report.earlier_nan_loss_frames):
        yield "non-finite", "none"
    earlier = _first(report, NONFINITE_LOSS, earlier=True)
    if earlier is not None:
        frames = _count(report.earlier_nan_loss_frames, "non-finite frame")
        yield "earlier", f"{frames} before the attempt of line {report.attempt_since}, first at {_place(earlier)}"
    if report.map50 is not None:
        rest = "" if report.map50_95 is None else f"  mAP50-95 {report.map50_95:g}"
        yield "validation", f"mAP50 {report.map50:g}{rest}"
    if report.ended_later is not None:
        yield "then", f"line {report.ended_later.line}: {_printable(report.ended_later.text)}"


def _first(report: ScanReport, kind: str, *, earlier: bool = False) -> SummaryEntry | None:
    """The first entry of ``kind`` in the last attempt; with ``earlier``, in one before it."""
    told = (*report.incidents, *report.notices)
    return next((entry for entry in told if entry.kind == kind and report.is_earlier(entry) is earlier), None)


def _advice(report: ScanReport) -> Iterable[str]:
    """What helps, most urgent first."""
    advice = crash_advice(report.crash_kind, report.crash_detail or "").then if report.crashed else ""
    if report.verdict in {ScanVerdict.STOPPED_BY_USER, ScanVerdict.STOPPED_ON_REQUEST}:
        advice = "Resume it when you like: resume=True, or trainmaster resume RUN_DIR for a guarded run."
    elif report.undrawn_since is not None and not report.crashed:
        advice = "What stands below is of the training before it. If it still runs, watch it: it may hang."
    if advice:
        yield advice
    first = _first(report, NONFINITE_LOSS) or _first(report, NONFINITE_VALIDATION)
    if first is not None:
        yield f"A checkpoint saved after {_place(first)} may hold NaN: trainmaster verify CHECKPOINT tells."
        yield "Go on from one that is clean; a guarded training (trainmaster train) skips such batches."


def _place(entry: SummaryEntry) -> str:
    where = f"line {entry.line}"
    if entry.epoch is not None:
        where += f", epoch {entry.epoch}" + (f" batch {entry.batch}" if entry.batch is not None else "")
    return where


def _entries(title: str, entries: tuple[SummaryEntry, ...], mark: str) -> Iterable[str]:
    if not entries:
        return
    yield ""
    yield f"{title} ({len(entries)})"
    for entry in entries[:_SHOWN_ENTRIES]:
        times = f" ({entry.count} times)" if entry.count > 1 else ""
        yield f"  {mark} {entry.kind.replace('_', ' ')}{times}, {_place(entry)}"
        yield f"      {_printable(entry.text)}"
    if len(entries) > _SHOWN_ENTRIES:
        yield f"  {len(entries) - _SHOWN_ENTRIES} more; --json lists all"


def _printable(text: str) -> str:
    """``text`` without what a terminal would obey."""
    text = visible_line(text)
    return text if len(text) <= _TEXT_CHARACTERS else text[: _TEXT_CHARACTERS - 1] + "…"


def _epoch(done: int, total: int | None) -> str:
    """A run with ``time=`` estimates its total anew each epoch, and may be beyond it."""
    beyond = total is not None and done > total
    return f"{done} (it had {total} planned)" if beyond else _ratio(done, total)


def _ratio(done: int | None, total: int | None) -> str:
    return "-" if done is None else f"{done}/{'?' if total is None else total}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
