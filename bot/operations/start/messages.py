"""What is said of a start that something stands against. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trainmaster.bot.core.conversation.known_by import has_ids, without_ids
from trainmaster.bot.core.conversation.message import ActionId, Button, ButtonStyle, Item, Mark, Message, Tone
from trainmaster.bot.core.decisions.gate import GateFact, GateOutcome, told_of
from trainmaster.bot.core.decisions.start_word import StartWord
from trainmaster.bot.core.run.view import RunView

TOLD: Final = "gate_told"
"""The note of what kept a start back, as the button beside it carries it."""
_MARKS = {GateOutcome.FAIL: Mark.FAILED, GateOutcome.UNKNOWN: Mark.UNKNOWN, GateOutcome.PASS: Mark.DONE}


def gate_message(
    view: RunView,
    against: Sequence[GateFact],
    *,
    title: str = "",
    batch: int | None = None,
    level: str | None = None,
) -> Message:
    """Fact, value and limit of each, and the button that starts all the same, with the batch size and the level that
    were asked for. Which process holds a GPU is a detail."""
    known_by = tuple(one.text for one in against if has_ids(one.text))
    more = Button(action=ActionId.DETAILS, label="Details", value=view.run)
    return Message(
        title=title or f"{view.name} was not started: something stands against it",
        tone=Tone.WARNING,
        body=("Nothing was touched. Mend it and resume, or start it anyway.",),
        items=tuple(Item(mark=_MARKS[one.outcome], text=without_ids(one.text)) for one in against),
        buttons=(
            anyway_button(view.run, view.attempt, told=told_of(against), batch=batch, level=level),
            *((more,) if known_by else ()),
        ),
        context=(f"/train resume level {level} anyway" if level else "/train resume anyway",),
        details=Message(title=f"{view.name}: what stands against a start", context=known_by) if known_by else None,
    )


def anyway_button(run: str, attempt: int, *, told: str, batch: int | None = None, level: str | None = None) -> Button:
    """Starts the run whatever the gate found, as far as it is what was ``told``."""
    return Button(
        action=ActionId.RESUME_RUN,
        label="Resume anyway",
        value=StartWord(run=run, attempt=attempt, anyway=True, told=told, batch=batch, level=level).text,
        style=ButtonStyle.DANGER,
        confirm="Start it although something stands against it?",
    )
