"""Buttons that stand under messages of several kinds: what a person may do about the run. Pure."""

from __future__ import annotations

from trainmaster.bot.core.conversation.message import ActionId, Button, ButtonStyle
from trainmaster.bot.core.decisions.start_word import StartWord


def resume_button(run: str, attempt: int, *, batch: int | None = None) -> Button:
    """Goes on from the newest clean state of the run, with another batch size if one is given."""
    return Button(
        action=ActionId.RESUME_RUN,
        label="Resume" if batch is None else f"Resume with batch {batch}",
        value=StartWord(run=run, attempt=attempt, batch=batch).text,
        style=ButtonStyle.PRIMARY,
    )


def rollback_button(run: str, style: ButtonStyle = ButtonStyle.PLAIN) -> Button:
    """Asks for a plan, on which others decide."""
    return Button(action=ActionId.PROPOSE_ROLLBACK, label="Propose rollback", value=run, style=style)
