"""What is said of the question whether a run goes on with other settings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from trainmaster.bot.core.conversation.message import ActionId, Button, ButtonStyle, Message, Tone
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.core.decisions.change import Proposal
from trainmaster.bot.operations.questions.question import asked_by, still_to_decide, yes_of

_COST = "It stops after the running batch, saves, and goes on from there with the change: it costs a start."


class ChangeEnd(StrEnum):
    """How a question ended."""

    APPROVED = "was approved"
    REJECTED = "was rejected"
    EXPIRED = "has expired"
    VOID = "is void"


def card(asked: Proposal, on_call: Sequence[str], *, allow_self_approval: bool) -> Message:
    """The question. Each person is named once: who asked, who has said yes, and who is still to decide."""
    who = asked_by(asked.requester, on_call, allow_self_approval=allow_self_approval)
    return Message(
        title=f"{asked.name}: go on with {asked.text}?",
        tone=Tone.WARNING,
        body=(_COST, *_on_epochs(asked)),
        context=(
            *((f"yes so far: {yes_of(asked.votes, asked.requester)}",) if asked.votes else ()),
            f"{who}, open until {moment(asked.expires_ts)}",
        ),
        buttons=(
            Button(
                action=ActionId.APPROVE,
                label="Approve",
                value=asked.id,
                style=ButtonStyle.PRIMARY,
                confirm=f"Stop {asked.name} and go on with {asked.words}?"[:300],
            ),
            Button(action=ActionId.REJECT, label="Reject", value=asked.id, style=ButtonStyle.DANGER),
        ),
        mentions=still_to_decide(on_call, asked.requester, asked.votes),
    )


def closed(asked: Proposal, end: ChangeEnd, how: str) -> Message:
    """What became of it."""
    nothing = () if end is ChangeEnd.APPROVED else ("Nothing was done.",)
    return Message(
        title=f"{asked.name}: the change of {asked.text} {end}",
        tone=Tone.PROGRESS if end is ChangeEnd.APPROVED else Tone.NEUTRAL,
        body=(" ".join((how, *nothing)),),
    )


def _on_epochs(asked: Proposal) -> tuple[str, ...]:
    more = any(one.key == "epochs" for one in asked.changes)
    return ("The rate falls along the new number of epochs from then on.",) if more else ()
