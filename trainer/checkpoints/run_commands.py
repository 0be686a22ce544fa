"""``catalog``, ``archive``, ``restore``, ``unarchive``: the commands about a whole run. Load no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from trainmaster.terminal import columns
from trainmaster.trainer.arguments import Arguments, ArgumentsError
from trainmaster.trainer.checkpoints import archive as archiving
from trainmaster.trainer.checkpoints import report
from trainmaster.trainer.checkpoints import restore as restoring
from trainmaster.trainer.checkpoints.catalog import catalog as list_checkpoints
from trainmaster.trainer.checkpoints.catalog import newest_clean
from trainmaster.trainer.checkpoints.cli import Outcome, words_of
from trainmaster.trainer.checkpoints.manifest import archives
from trainmaster.trainer.contract import ExitCode, RunLayout

_JSON: Final = frozenset({"json"})


def catalog(arguments: Arguments) -> Outcome:
    """List the checkpoints of a run; ``--full`` reads and judges each one anew."""
    (word,) = words_of(arguments, "a run directory", flags=_JSON | {"full"})
    layout = _run(word)
    full = "full" in arguments.flags
    entries = list_checkpoints(layout, full=full)
    best = newest_clean(entries)
    record = {
        "run": layout.name,
        "run_dir": str(layout.root),
        "checkpoints": [report.entry_record(entry) for entry in entries],
        "last_clean": None if best is None else report.entry_record(best),
    }
    return ExitCode.FINISHED, record, report.catalog_text(layout.name, entries, best, columns())


def archive(arguments: Arguments) -> Outcome:
    """Put aside what came after an epoch; without ``after=``, list what was put aside before."""
    (word,) = words_of(arguments, "a run directory", flags=_JSON, settings=frozenset({"after"}))
    layout = _run(word)
    if "after" not in arguments.settings:
        records = archives(layout)
        text = "\n".join(map(report.archive_text, records)) or f"{layout.name}: nothing was archived"
        found = {"run": layout.name, "archives": list(map(report.archive_record, records))}
        return ExitCode.FINISHED, found | _of(layout), text
    record = archiving.archive_after(layout, _epoch(arguments, "after", lowest=0))
    return ExitCode.FINISHED, report.archive_record(record) | _of(layout), report.archive_text(record)


def restore(arguments: Arguments) -> Outcome:
    """Take a run back to the end of an epoch."""
    (word,) = words_of(arguments, "a run directory", flags=_JSON, settings=frozenset({"epoch"}))
    layout = _run(word)
    restored = restoring.restore(layout, _epoch(arguments, "epoch", lowest=1))
    return ExitCode.FINISHED, report.restored_record(restored) | _of(layout), report.restored_text(restored)


def unarchive(arguments: Arguments) -> Outcome:
    """Bring back what one ``archive`` put aside."""
    word, folder = words_of(arguments, "a run directory", "the name of one of its archives", flags=_JSON)
    layout = _run(word)
    record = archiving.unarchive(layout, folder)
    return ExitCode.FINISHED, report.archive_record(record) | _of(layout), report.archive_text(record)


def _of(layout: RunLayout) -> dict[str, str]:
    return {"run_dir": str(layout.root)}


def _epoch(arguments: Arguments, key: str, *, lowest: int) -> int:
    text = arguments.settings.get(key)
    if text is None:
        raise ArgumentsError("which epoch is meant?", f"write {key}=EPOCH, counting from 1")
    try:
        epoch = int(text)
    except ValueError:
        raise ArgumentsError(f"{key}={text} is no epoch", "epochs are whole numbers, counting from 1") from None
    if epoch < lowest:
        raise ArgumentsError(f"{key}={epoch} is less than {lowest}", "epochs count from 1")
    return epoch


def _run(word: str) -> RunLayout:
    layout = RunLayout(Path(word).absolute())
    if not (layout.guard.is_dir() or layout.weights.is_dir()):
        raise ArgumentsError(f"{word} is no run directory", "it should hold a folder guard/ or weights/")
    return layout
