"""``runs`` and ``use RUN``: which trainings there are, and which one this channel talks about."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import Item, Mark, Message, Reply, Table, Tone
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.run.view import RunView, planned_epochs
from trainmaster.bot.errors import CommandError
from trainmaster.commands.base import Command, Context, Invocation, Needs, pattern
from trainmaster.commands.which_run import find_run, label_of

_MAX_SHOWN = 20


async def list_runs(invocation: Invocation, context: Context) -> Reply:
    """Every watched run, those at work first."""
    every = context.runs.all()
    if not every:
        raise CommandError(
            "no-runs", "no guarded run was found under RUNS_DIR.", "start one with: trainmaster train ..."
        )
    left_out = len(every) - _MAX_SHOWN
    num_at_work = sum(view.state.active for view in every)
    message = Message(
        title=f"{counted(len(every), 'run')}, {num_at_work:,} at work",
        tone=Tone.NEUTRAL,
        items=tuple(_life(view, label_of(view, context)) for view in every[:_MAX_SHOWN]),
        table=Table(
            header=("Run", "State", "Epoch", "Bad"),
            rows=tuple(_row(view, label_of(view, context)) for view in every[:_MAX_SHOWN]),
        ),
        context=(*((f"{left_out:,} older ones not shown",) if left_out > 0 else ()), "/train use RUN", "/train status"),
    )
    return Reply(message=message)


def _row(view: RunView, label: str) -> tuple[str, ...]:
    beat = view.heartbeat
    epoch = beat.epoch if beat else None
    return (
        label,
        f"{view.state.value}, watched only" if view.watched_only else view.state.value,
        f"{'?' if epoch is None else epoch} of {planned_epochs(epoch, view.total_epochs) or '?'}",
        f"{view.num_bad:,}",
    )


def _life(view: RunView, label: str) -> Item:
    """A line, as a table's cell can't show a time in the reader's own zone."""
    beat = view.heartbeat
    mark = Mark.RUNNING if view.state.active else Mark.WAITING
    return Item(mark=mark, text=label, detail=f"last sign of life {moment(beat.ts)}" if beat else "no sign of life yet")


async def use_run(invocation: Invocation, context: Context) -> Reply:
    """Commands in this channel are about the run from now on."""
    view = await find_run(invocation, context)
    context.selection.choose(invocation.request.channel, view.run)
    message = Message(
        title=f"Commands here are now about {label_of(view, context)}",
        tone=Tone.GOOD,
        context=("/train status", "/train runs"),
    )
    return Reply(message=message)


RUNS = Command(
    name="runs",
    summary="every watched run",
    examples=("runs",),
    pattern=pattern(r"(?:list |show )?runs"),
    action=list_runs,
)
USE = Command(
    name="use RUN",
    summary="choose the run that this channel talks about",
    examples=("use digits",),
    pattern=pattern(r"use (?P<run>\S.*?)"),
    action=use_run,
    needs=Needs.VOICE,
    what="choose the run of a channel",
)
