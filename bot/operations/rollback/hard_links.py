"""Keeps the approved checkpoint there while the trainer still runs.

The trainer prunes old states at every epoch's end, and that may be in the seconds between the check of the checkpoint
and the stop. So a second name (a hard link) is given to each file first: pruning takes away one name, never the other.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from trainmaster.bot.core.decisions.operation import Operation
from trainmaster.bot.core.decisions.plan import Target
from trainmaster.bot.errors import OperationError
from trainmaster.trainer.contract import RunLayout


def pin(operation: Operation, target: Target) -> bool:
    """Every file of the target has a second name; False where the file system knows no hard links.

    Raises:
        OperationError: a file is not there (any more).
    """
    folder = _folder(operation)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for source, second in _names(operation, target):
            with contextlib.suppress(FileExistsError):
                os.link(source, second)
    except FileNotFoundError as error:
        raise OperationError(
            "checkpoint-gone", f"{error.filename} is not there any more.", "the trainer may have pruned it; ask again"
        ) from error
    except OSError:
        return False
    return True


def bring_pinned_back(operation: Operation, target: Target) -> bool:
    """Every file has its first name again, and it is the file that was pinned; False when it had no second one.

    Raises:
        OperationError: another file has its name.
    """
    for source, second in _names(operation, target):
        if not second.exists():
            return False
        with contextlib.suppress(FileExistsError):
            os.link(second, source)
        if not source.samefile(second):
            raise OperationError(
                "checkpoint-replaced", f"{source} is another file than the one that was approved.", "ask again"
            )
    return True


def unpin(operation: Operation, target: Target) -> None:
    """The second names are gone; a file that would go with its last name keeps it."""
    for source, second in _names(operation, target):
        with contextlib.suppress(OSError):
            if source.samefile(second):
                second.unlink()
    with contextlib.suppress(OSError):
        _folder(operation).rmdir()
        _folder(operation).parent.rmdir()


def _folder(operation: Operation) -> Path:
    return RunLayout(operation.directory).guard / "pinned" / operation.id


def _names(operation: Operation, target: Target) -> Iterator[tuple[Path, Path]]:
    folder = _folder(operation)
    for file in (target.file, *(name for name, _ in target.companions)):
        yield operation.directory / file, folder / file.replace("/", "_")
