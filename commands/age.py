"""Words and presses of another time: Slack brings some minutes late, and the world moves on meanwhile."""

from __future__ import annotations

from typing import Final

from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import CommandError

OLD_S: Final = 120.0
"""What acts and is older asks back: Slack brings events up to eight minutes late."""
_CLOCKS_S: Final = 2.0
"""By which Slack's clock and the trainer's may differ."""


def refuse_old(said_ts: float | None, what: str, now: float) -> None:
    """``what`` was said or pressed lately, as far as that is known.

    Raises:
        CommandError: it was not.
    """
    if said_ts is not None and now - said_ts > OLD_S:
        raise CommandError(
            "said-long-ago",
            f"{what} at {moment(said_ts)} and reached me only now; nothing was done.",
            "say or press it again if it still holds",
        )


def refuse_of_earlier_attempt(said_ts: float | None, view: RunView) -> None:
    """What acts on a run was said of the attempt that runs now.

    Raises:
        CommandError: it was said of an earlier one.
    """
    began_ts = view.record.started_ts if view.record else None
    if said_ts is None or began_ts is None or not view.state.active:
        return
    if said_ts < began_ts - _CLOCKS_S:
        raise CommandError(
            "said-before",
            f"that was said at {moment(said_ts)}, before attempt {view.attempt} of {view.name} began at "
            f"{moment(began_ts)}; nothing was done.",
            "say it again if it is meant of this attempt",
        )
