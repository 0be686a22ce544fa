"""``compare RUN RUN``: two runs side by side, at the same epoch where both have it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from trainmaster.bot.core.conversation.message import Message, Reply, Table, Tone
from trainmaster.bot.core.conversation.words import losses_text, number_text
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.core.run.view import EpochView, RunView
from trainmaster.bot.errors import CommandError
from trainmaster.commands.base import Command, Context, Invocation, pattern
from trainmaster.commands.which_run import find_run, label_of

_MAX_SETTINGS: Final = 12
_SAME: Final = 0.005
"""A fitness within this of another is the same: two runs with other random numbers differ by as much."""
_NONE: Final = "–"


async def compare(invocation: Invocation, context: Context) -> Reply:
    """Both runs, row by row, and which is ahead, in words.

    Raises:
        CommandError: one of them is not known, or both are the same run.
    """
    one = await find_run(invocation, context)
    words = {**invocation.words, "run": invocation.words["other"]}
    two = await find_run(replace(invocation, words=words), context)
    if one.run == two.run:
        raise CommandError("same-run", f"run {one.name} is compared with itself.", "/train compare RUN OTHER_RUN")
    names = (label_of(one, context), label_of(two, context))
    epoch = _common_epoch(one, two)
    differ = _settings(one, two)
    left_out = len(differ) - _MAX_SETTINGS
    message = Message(
        title=_verdict(names, one, two, epoch),
        tone=Tone.NEUTRAL,
        table=Table(header=("", *names), rows=(*_rows(one, two, epoch), *differ[:_MAX_SETTINGS])),
        context=(
            *((f"{left_out:,} more settings differ",) if left_out > 0 else ()),
            "/train status of RUN",
        ),
    )
    return Reply(message=message)


def _common_epoch(one: RunView, two: RunView) -> int | None:
    """The newest epoch that both have finished."""
    both = _finished(one).keys() & _finished(two).keys()
    return max(both, default=None)


def _finished(view: RunView) -> dict[int, EpochView]:
    return {epoch.epoch: epoch for epoch in view.story() if epoch.finished}


def _verdict(names: tuple[str, str], one: RunView, two: RunView, epoch: int | None) -> str:
    if epoch is None:
        return f"{names[0]} and {names[1]}: no epoch that both have finished"
    here, there = (_finished(view)[epoch].fitness for view in (one, two))
    if here is None or there is None or not (math.isfinite(here) and math.isfinite(there)):
        return f"{names[0]} and {names[1]}, after epoch {epoch}: no fitness of both"
    if abs(here - there) <= _SAME:
        return f"{names[0]} and {names[1]} are level after epoch {epoch}: fitness {number_text(here)}"
    ahead, behind, more, less = (*names, here, there) if here > there else (names[1], names[0], there, here)
    return f"{ahead} is ahead of {behind} after epoch {epoch}: fitness {number_text(more)}, not {number_text(less)}"


def _rows(one: RunView, two: RunView, epoch: int | None) -> tuple[tuple[str, str, str], ...]:
    both = (one, two)
    rows = [
        ("State", *(view.state.value for view in both)),
        ("Epoch", *(_place(view) for view in both)),
        ("Level", *((view.record.level if view.record else None) or _NONE for view in both)),
        ("Model", *((view.record.model if view.record else None) or _NONE for view in both)),
        ("Best fitness", *(_best(view) for view in both)),
    ]
    if epoch is not None:
        here, there = _finished(one)[epoch], _finished(two)[epoch]
        rows += [
            (f"Fitness, epoch {epoch}", _number(here.fitness), _number(there.fitness)),
            (f"Loss, epoch {epoch}", losses_text(here.losses) or _NONE, losses_text(there.losses) or _NONE),
            ("Rate lr", _number(here.lr), _number(there.lr)),
            ("Time of the epoch", _time(here.seconds), _time(there.seconds)),
        ]
    rows += [
        ("Bad batches", *(f"{view.num_bad:,} ({view.num_skipped:,} skipped)" for view in both)),
        ("Clipped gradients", *(f"{view.num_clipped:,}" for view in both)),
        ("Attempts", *(f"{view.attempt}" for view in both)),
    ]
    return tuple((name, here, there) for name, here, there in rows if (here, there) != (_NONE, _NONE))


def _settings(one: RunView, two: RunView) -> tuple[tuple[str, str, str], ...]:
    """The settings of the layers that differ."""
    here, there = (
        {name: value for name, (value, _) in view.record.settings.items()} if view.record else {} for view in (one, two)
    )
    names = [name for name in dict.fromkeys((*here, *there)) if here.get(name) != there.get(name)]
    return tuple((name, here.get(name, _NONE), there.get(name, _NONE)) for name in names)


def _place(view: RunView) -> str:
    story = view.story()
    return f"{story[-1].epoch if story else 0} of {view.total_epochs or '?'}"


def _best(view: RunView) -> str:
    known = [one for one in view.story() if one.fitness is not None and math.isfinite(one.fitness)]
    best = max(known, key=lambda one: one.fitness or 0.0, default=None)
    return _NONE if best is None else f"{number_text(best.fitness or 0.0)} (epoch {best.epoch})"


def _number(value: float | None) -> str:
    return _NONE if value is None else number_text(value)


def _time(seconds: float | None) -> str:
    return _NONE if seconds is None else duration(seconds)


_NAME = r"(?:[\"'“‘`][^\"'”’`]+[\"'”’`]|\S+)"
COMPARE = Command(
    name="compare RUN RUN",
    summary="two runs side by side: fitness and losses at the same epoch, bad batches, settings that differ",
    examples=("compare digits digits-2",),
    pattern=pattern(rf"compare (?P<run>{_NAME})(?: (?:with|and|to|against|vs\.?))? (?P<other>{_NAME})"),
    action=compare,
)
