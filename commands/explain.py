"""``explain``: what an alert means and what to do about it; also the shortcut on a message."""

from __future__ import annotations

from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.alerts.explanations import explanation_of
from trainmaster.bot.core.conversation.message import Message, Reply
from trainmaster.bot.core.conversation.tokens import moment
from trainmaster.bot.errors import CommandError
from trainmaster.commands.acknowledge import meant_alert
from trainmaster.commands.base import Command, Context, Fits, Invocation, pattern, thread_key


async def explain(invocation: Invocation, context: Context) -> Reply:
    """The alert of this thread, or the only one firing, in plain words; only the person who asks reads it.

    Raises:
        CommandError: the message is no alert, or it could be several.
    """
    key = thread_key(invocation.request, context)
    if invocation.request.thread_ts and key is None:
        raise CommandError("no-alert", "that message is none of mine.", "choose an alert of mine")
    told = context.alerts.alert(key) if key is not None else None
    return Reply(message=_explained(told or await meant_alert(invocation, context)), private=True)


def _explained(alert: Alert) -> Message:
    finding, known = alert.finding, explanation_of(alert.finding.check)
    since = f"since {moment(alert.since_ts)}"
    if known is None:
        body: tuple[str, ...] = ("This version of Trainmaster does not know this alert.",)
    else:
        body = (f"What it means: {known.means}.", f"What to do: {known.do}.")
    return Message(
        title=finding.title,
        body=body,
        context=(since, *((finding.hint,) if finding.hint else ()), "every alert: docs/alerts.md"),
    )


EXPLAIN = Command(
    name="explain",
    summary="what the alert of this thread means, and what to do",
    examples=("explain",),
    pattern=pattern(r"(?:explain(?: this(?: alert)?| alert)?|what does (?:this|it) mean\??)"),
    action=explain,
    fits=Fits.ALERT,
)
