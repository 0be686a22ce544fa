"""The Ultralytics of each Python that trains here: asked in a process of its own, since the bot loads none of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from trainmaster.bot.core.conversation.message import Item, Mark
from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.trainer_cli import EngineRow, TrainerCli
from trainmaster.bot.errors import OperationError
from trainmaster.trainer.contract import RunRecordState

MAX_PYTHONS: Final = 3
"""Each takes seconds to load torch. The bot's own comes first, then those of the runs that train now."""

_MARKS: Final = {"ok": Mark.DONE, "FAIL": Mark.FAILED, "i": Mark.WARNING}


async def examine_engines(cli: TrainerCli, runs_dir: Path, views: Sequence[RunView]) -> list[Item]:
    """What each Python's Ultralytics is, whether the guard fits it, and whether a run trains under another one.

    A missing seam is a failure only of the bot's own Python, or of one that trains: there the next start is refused.
    """
    training = [view for view in views if _trains(view)]
    asked = {view.record.python: view for view in reversed(training) if view.record is not None and view.record.python}
    asked.pop(sys.executable, None)
    items: list[Item] = []
    installed: dict[str | None, str] = {}
    if find_spec("ultralytics") is not None or any(_python(view) == sys.executable for view in training):
        own = RunView(directory=runs_dir, name="", ts=0.0, first_seen_ts=0.0, record=_own_record(runs_dir))
        items += await _one(cli, own, "Ultralytics", installed)
    for view in list(asked.values())[: MAX_PYTHONS - 1]:
        items += await _one(cli, view, f"Ultralytics of {view.name}", installed)
    return [*items, *(item for view in training if (item := _upgraded(view, installed.get(_python(view)))) is not None)]


def _own_record(folder: Path) -> RunRecord:
    return RunRecord(run="", python=sys.executable, cwd=str(folder))


def _trains(view: RunView) -> bool:
    return view.record is not None and view.record.guarded and view.record.state is RunRecordState.RUNNING


def _python(view: RunView) -> str | None:
    return view.record.python if view.record is not None else None


async def _one(cli: TrainerCli, view: RunView, text: str, installed: dict[str | None, str]) -> list[Item]:
    try:
        rows = await cli.engine(view)
    except OperationError as error:
        return [Item(mark=Mark.UNKNOWN, text=text, detail=error.message)]
    installed.update({_python(view): row.value for row in rows if row.name == "version"})
    return [_item(text, row) for row in rows]


def _item(text: str, row: EngineRow) -> Item:
    detail = f"{row.name}: {row.value}" + (f"; {row.detail}" if row.detail else "")
    return Item(mark=_MARKS.get(row.status, Mark.UNKNOWN), text=text, detail=detail)


def _upgraded(view: RunView, now: str | None) -> Item | None:
    """A run holds in memory what it was started with; only its next start meets what is installed by then."""
    was = view.record.ultralytics if view.record is not None else None
    if was is None or now is None or was == now:
        return None
    detail = (
        f"{view.name} trains under {was}, and {now} is installed now: its resume will be under {now}, or is refused "
        f"where that makes another model. pip install ultralytics=={was} keeps it as it is"
    )
    return Item(mark=Mark.WARNING, text="Ultralytics changed under a run", detail=detail)
