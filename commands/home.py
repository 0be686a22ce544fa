"""App Home: what is going on, and what waits for the one who looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trainmaster.bot.core.alerts.alert import Alert
from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.core.conversation.message import Item, Mark, Message, Tone
from trainmaster.bot.core.conversation.tokens import actor, link, moment, person
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.decisions.approval import Approval
from trainmaster.bot.core.decisions.change import Proposal
from trainmaster.bot.core.run.forecast import forecast
from trainmaster.bot.core.run.view import RunView, planned_epochs
from trainmaster.bot.errors import ChatError
from trainmaster.commands.base import Context
from trainmaster.commands.which_run import label_of

MAX_RUNS: Final = 60
"""Those at work first; a phone shows eight at once."""
_RUNS_A_PART: Final = 10
_MAX_ALERTS: Final = 15
_MAX_UNHEARD: Final = 5


async def home(user: str, context: Context) -> tuple[Message, ...]:
    """The page of ``user``, part by part: what waits for them, what fires, every run, who is on call."""
    try:
        on_call: frozenset[str] | None = await context.on_call.now()
    except ChatError:
        on_call = None
    firing = list(context.alerts.firing())
    decides = user in (on_call or ()) and (await context.roles.standing(user)).acts
    unheard = [one for one in firing if one.finding.severity is Severity.CRITICAL and one.acked_by is None]
    for_them = unheard[:_MAX_UNHEARD] if decides else []
    return (
        _waiting(user, decides, for_them, context, below=len(unheard) - len(for_them)),
        _firing([one for one in firing if one not in for_them], context, more=bool(for_them)),
        *_runs(context, firing),
        _on_call(on_call),
    )


def _waiting(user: str, on_call: bool, unheard: Sequence[Alert], context: Context, *, below: int) -> Message:
    """``below`` more wait for them, which stand under what fires."""
    questions = [one for one in context.questions() if user not in {vote.user for vote in one.votes}]
    changes = [one for one in context.proposals() if user not in one.votes]
    items = (
        *(_question(one, context) for one in questions),
        *(_change(one, context) for one in changes),
        *(_alert(alert, context) for alert in unheard),
    )
    if not on_call or not items:
        return Message(title="Nothing waits for you", tone=Tone.GOOD)
    title = f"{counted(len(items) + below, 'thing waits', 'things wait')} for you"
    more = (f"{below:,} of them stand below",) if below else ()
    return Message(title=title, tone=Tone.CRITICAL if unheard else Tone.WARNING, items=items, context=more)


def _question(question: Approval, context: Context) -> Item:
    plan = question.plan
    return Item(
        mark=Mark.WAITING,
        text=f"{plan.name}: roll back to epoch {plan.target.epoch}?",
        detail=_decide_on(question.card, question.requester, question.expires_ts, context),
    )


def _change(asked: Proposal, context: Context) -> Item:
    return Item(
        mark=Mark.WAITING,
        text=f"{asked.name}: go on with {asked.text}?",
        detail=_decide_on(asked.card, asked.requester, asked.expires_ts, context),
    )


def _decide_on(card: str, requester: str, expires_ts: float, context: Context) -> str:
    posted = context.outbox.posted(card)
    url = context.link(posted) if posted is not None else ""
    where = f"decide on {link(url, 'its card')}; " if url else ""
    return f"{where}asked for by {actor(requester)}, until {moment(expires_ts)}"


def _firing(firing: Sequence[Alert], context: Context, *, more: bool) -> Message:
    """What fires beside that which waits for whoever looks: no alert stands there twice."""
    if not firing:
        return Message(title="Nothing else is firing" if more else "Nothing is firing", tone=Tone.GOOD)
    worst = Tone.CRITICAL if any(one.finding.severity is Severity.CRITICAL for one in firing) else Tone.WARNING
    left_out = len(firing) - _MAX_ALERTS
    return Message(
        title=f"{counted(len(firing), 'more alert' if more else 'alert')} firing",
        tone=worst,
        items=tuple(_alert(alert, context) for alert in firing[:_MAX_ALERTS]),
        context=(f"and {left_out:,} more: /train alerts",) if left_out > 0 else (),
    )


def _alert(alert: Alert, context: Context) -> Item:
    posted = context.outbox.posted(alert.fingerprint)
    url = context.link(posted) if posted is not None else ""
    has_it = f", {person(alert.acked_by)} has it" if alert.acked_by else ""
    mark = Mark.FAILED if alert.finding.severity is Severity.CRITICAL else Mark.WARNING
    where = f", {link(url, 'see it')}" if url else ""
    return Item(mark=mark, text=alert.finding.title, detail=f"since {moment(alert.since_ts)}{has_it}{where}")


def _runs(context: Context, firing: Sequence[Alert]) -> tuple[Message, ...]:
    every = sorted(context.runs.all(), key=lambda view: not view.state.goes_on)
    if not every:
        return (Message(title="No run is watched", body=("Start one with: trainmaster train ...",)),)
    noisy = {alert.finding.run for alert in firing}
    at_work = sum(view.state.active for view in every)
    shown = every[:MAX_RUNS]
    names = [label_of(view, context) if len(every) <= MAX_RUNS else view.name for view in shown]
    concerned = context.concerned()
    planned = [_planned(context.planned(view.run)) if view.run in concerned else () for view in shown]
    items = [
        _run(view, name, view.run in noisy, plans, context)
        for view, name, plans in zip(shown, names, planned, strict=True)
    ]
    parts = [items[at : at + _RUNS_A_PART] for at in range(0, len(items), _RUNS_A_PART)]
    title = f"{counted(len(every), 'run')}, {at_work:,} at work"
    left_out = len(every) - len(shown)
    return tuple(
        Message(
            title=title if not number else f"Runs {number * _RUNS_A_PART + 1} to {number * _RUNS_A_PART + len(part)}",
            items=tuple(part),
            context=(f"{left_out:,} more: /train runs",) if left_out > 0 and number == len(parts) - 1 else (),
        )
        for number, part in enumerate(parts)
    )


def _planned(told: Sequence[str]) -> tuple[str, ...]:
    """What is under way and planned; what is asked stands at the top of the page."""
    return tuple(f"{one[0].lower()}{one[1:]}".rstrip(".") for one in told if not one.startswith("Open question"))


def _run(view: RunView, name: str, is_noisy: bool, planned: Sequence[str], context: Context) -> Item:
    beat = view.heartbeat
    epoch = beat.epoch if beat else None
    ahead = forecast(view, context.clock.now())
    parts = [
        view.state.value + (", watched only" if view.watched_only else ""),
        f"epoch {'?' if epoch is None else epoch} of {planned_epochs(epoch, view.total_epochs) or '?'}",
        *([f"ends {moment(ahead.run_end_ts)}"] if ahead.run_end_ts is not None and view.state.active else []),
        *([counted(view.num_bad, "bad batch", "bad batches")] if view.num_bad else []),
        *planned,
    ]
    mark = Mark.WARNING if is_noisy else Mark.RUNNING if view.state.active else Mark.WAITING
    return Item(mark=mark, text=name, detail=", ".join(parts))


def _on_call(people: frozenset[str] | None) -> Message:
    if people is None:
        return Message(title="Who is on call can't be told now", tone=Tone.WARNING)
    names = ", ".join(map(person, sorted(people))) or "nobody: ONCALL_USERS is empty"
    return Message(title="On call", body=(names,), context=("/train help in any channel that I am in",))
