"""A :class:`ScanReport` as a person likes to read it in a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from trainmaster.bot.reading.console.facts import CrashKind
from trainmaster.bot.reading.scan.scanner import ScanReport
from trainmaster.bot.reading.scan.summary import Entry

_RED, _YELLOW, _GREEN, _BOLD, _DIM, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[1m", "\x1b[2m", "\x1b[0m"
_SHOWN_ENTRIES = 20
_TEXT_CHARACTERS = 100
_CRASH_WORDS = {
    CrashKind.OOM: "out of memory",
    CrashKind.KILLED: "killed from outside",
    CrashKind.NCCL: "communication between GPUs failed",
    CrashKind.CUDA_ERROR: "CUDA error",
    CrashKind.DATALOADER: "data loader died",
    CrashKind.EXCEPTION: "exception",
}

_CRASH_ADVICE = {
    CrashKind.OOM: "Make batch or imgsz smaller, or free memory on the device, then resume.",
    CrashKind.KILLED: "Ask the host why: dmesg tells of its out-of-memory killer, a scheduler of its time limit.",
    CrashKind.NCCL: "One rank waited for another: look for the first error of any rank, and at the network.",
    CrashKind.CUDA_ERROR: "CUDA_LAUNCH_BLOCKING=1 shows where; one that moves from run to run is the hardware.",
    CrashKind.DATALOADER: "Give the loaders more shared memory (/dev/shm) or fewer workers, then resume.",
}


def render(report: ScanReport, *, name: str, color: bool) -> str:
    """The report with its verdict first; escape codes only with ``color``."""

    def paint(code: str, text: str) -> str:
        return f"{code}{text}{_PLAIN}" if color else text

    code, verdict = _verdict(report)
    lines = [paint(_BOLD, name), paint(code, verdict), ""]
    lines += [f"  {label:<11}{value}" for label, value in _facts(report)]
    advice = [f"  {line}" for line in _advice(report)]
    lines += ["", "What to do", *advice] if advice else []
    lines += _entries("Incidents", report.incidents, paint(_RED, "✗"))
    lines += _entries("Notices", report.notices, paint(_YELLOW, "·"))
    if not report.incidents:
        lines += ["", paint(_DIM, "No incidents.")]
    return "\n".join(lines) + "\n"


def _verdict(report: ScanReport) -> tuple[str, str]:
    nonfinite = f", with {_count(report.nan_loss_frames, 'non-finite loss frame')}" if report.nan_loss_frames else ""
    if report.crashed:
        why = _CRASH_WORDS.get(report.crash_kind, "unknown")
        return _RED, f"CRASHED: {why}: {_printable(report.crash_detail or '')}{nonfinite}"
    if report.completed:
        how = "STOPPED EARLY: its patience ran out" if report.early_stopped else "COMPLETED"
        return (_RED if nonfinite else _GREEN), f"{how}{nonfinite}"
    if report.last_epoch is None and report.last_batch is None:
        return _YELLOW, "No training frames of Ultralytics in this log"
    return (_RED if nonfinite else _YELLOW), f"NOT FINISHED: the log ends while training{nonfinite}"


def _facts(report: ScanReport) -> Iterable[tuple[str, str]]:
    if report.last_epoch is not None:
        yield "epoch", _ratio(report.last_epoch, report.total_epochs)
    if report.last_batch is not None:
        yield "batch", _ratio(report.last_batch, report.total_batches)
    if report.losses:
        yield "losses", "  ".join(f"{name} {value:g}" for name, value in report.losses.items())
    first = _first_nonfinite(report)
    if first is not None:
        frames = f"{_count(report.nan_loss_frames, 'frame')} on {_count(report.nan_loss_lines, 'line')}"
        yield "non-finite", f"{frames}, first at {_place(first)}"
    elif report.losses:
        yield "non-finite", "none"
    if report.map50 is not None:
        rest = "" if report.map50_95 is None else f"  mAP50-95 {report.map50_95:g}"
        yield "validation", f"mAP50 {report.map50:g}{rest}"


def _first_nonfinite(report: ScanReport) -> Entry | None:
    return next((entry for entry in report.incidents if entry.kind == "nonfinite_loss"), None)


def _advice(report: ScanReport) -> Iterable[str]:
    """What helps, most urgent first."""
    if report.crashed and report.crash_kind in _CRASH_ADVICE:
        yield _CRASH_ADVICE[report.crash_kind]
    first = _first_nonfinite(report)
    if first is not None:
        yield f"A checkpoint saved after {_place(first)} may hold NaN: trainmaster verify CHECKPOINT tells."
        yield "Go on from one that is clean; a guarded training (trainmaster train) skips such batches."


def _place(entry: Entry) -> str:
    where = f"line {entry.line}"
    if entry.epoch is not None:
        where += f", epoch {entry.epoch}" + (f" batch {entry.batch}" if entry.batch is not None else "")
    return where


def _entries(title: str, entries: tuple[Entry, ...], mark: str) -> Iterable[str]:
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
    text = "".join(character if character.isprintable() else "�" for character in text)
    return text if len(text) <= _TEXT_CHARACTERS else text[: _TEXT_CHARACTERS - 1] + "…"


def _ratio(done: int | None, total: int | None) -> str:
    return "-" if done is None else f"{done}/{'?' if total is None else total}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
