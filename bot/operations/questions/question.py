"""The question to the people on call: what happened, what it costs, what to press; the rest in its thread. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from trainmaster.bot.core.conversation.known_by import without_ids
from trainmaster.bot.core.conversation.message import ActionId, Button, ButtonStyle, Item, Mark, Message, Table, Tone
from trainmaster.bot.core.conversation.tokens import actor, moment, person
from trainmaster.bot.core.conversation.words import counted
from trainmaster.bot.core.decisions.approval import Approval, ApprovalState
from trainmaster.bot.core.decisions.choices import timeline
from trainmaster.bot.core.decisions.plan import Difference, Incident, Keeper, Option, OptionName, RollbackPlan
from trainmaster.bot.core.decisions.recommendation import recommend
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.operations.limits import RENEW_S


def dry_plan(plan: RollbackPlan) -> Message:
    """The plan, asked for by somebody who only wants to see it."""
    return Message(
        title=f"{plan.name}: plan of a rollback to epoch {plan.target.epoch}. Nothing was asked, nothing was done.",
        body=_first_lines(plan, why=""),
        items=_choices(plan, why=""),
        context=("its details are in the thread",),
    )


def details(plan: RollbackPlan, *, approval: str = "") -> Message:
    """All that the card leaves out: what the plan changes and rests on, and what it is known by."""
    changing = [change for change in plan.settings if change.changes]
    table = None
    if changing:
        # Three columns fit a phone; the number is the layer's.
        rows = tuple(
            (f"{change.layer.split()[0]} {change.setting}", change.before, change.after) for change in changing
        )
        table = Table(header=("Layer, setting", "Now", "After"), rows=rows)
    asked = f", approval {approval}" if approval else ""
    return Message(
        title=f"{plan.name}: details of the rollback to epoch {plan.target.epoch}",
        fields=(*_facts(plan), *((option.name.value, timeline(option)) for option in plan.options)),
        items=tuple(Item(mark=Mark.WARNING, text=risk) for risk in plan.risks),
        table=table,
        context=(
            f"plan {plan.digest[:12]}{asked}",
            f"file {plan.target.file}, sha256 {plan.target.sha256[:12]}",
            f"trainer: {_process(plan)}",
        ),
    )


def card(
    approval: Approval,
    *,
    on_call: Sequence[str] = (),
    changed: Sequence[Difference] = (),
    allow_self_approval: bool = False,
) -> Message:
    """The question, or what became of it; only a pending one has buttons. At an epoch's end it shows both ways in clock
    times and how the epoch went. Each person is named once: who asked, who has said yes, and who is still to decide."""
    plan = approval.plan
    if approval.state is not ApprovalState.PENDING:
        return _closed_card(approval)
    ended = approval.ended_epoch
    title = f"{plan.name}: roll back to epoch {plan.target.epoch}?"
    if ended is not None:
        title = f"{plan.name}: epoch {ended} has ended, decide now: roll back to epoch {plan.target.epoch}?"
    votes = approval.votes
    voted = tuple(vote.user for vote in votes)
    yes = f"yes so far: {yes_of(voted, approval.requester)}; " if votes else ""
    who = asked_by(approval.requester, on_call, allow_self_approval=allow_self_approval)
    need = f"{yes}{approval.required} must say yes" if approval.required > 1 else ""
    return Message(
        title=title,
        tone=Tone.WARNING,
        body=(
            *_first_lines(plan, why=approval.why),
            *(f"Stands against a start: {without_ids(risk)}" for risk in plan.risks[: len(plan.against)]),
            *(f"Changed since it was asked: {one.what} was {one.then}, is {one.now}." for one in changed),
        ),
        fields=_both_ways(plan) if ended is not None else (),
        items=(*approval.criteria, *(() if ended is not None else _choices(plan, why=approval.why))),
        context=(
            *((need,) if need else ()),
            f"{who}, open until {moment(approval.expires_ts)}",
            _level(plan),
        ),
        buttons=_buttons(approval),
        mentions=still_to_decide(on_call, approval.requester, voted),
        details=details(plan, approval=approval.id),
    )


def asked_by(requester: str, on_call: Sequence[str], *, allow_self_approval: bool) -> str:
    """Who asked, and whether they may decide it; that nobody may, where they alone are on call."""
    asked = f"asked for by {actor(requester)}"
    if requester not in on_call:
        return asked
    if allow_self_approval:
        return f"{asked}, who may approve it too"
    return asked if len(set(on_call)) > 1 else f"{asked}; nobody else is on call, and somebody else must approve it"


def deciders(on_call: Sequence[str], requester: str, *, allow_self_approval: bool) -> str:
    """Who may say yes, by name."""
    others = [one for one in on_call if allow_self_approval or one != requester]
    return ", ".join(map(person, others)) or "nobody else: somebody who did not ask must approve"


def still_to_decide(on_call: Sequence[str], requester: str, voted: Sequence[str]) -> tuple[str, ...]:
    """Whom the question calls: not who asked it, nor who has said yes."""
    return tuple(one for one in on_call if one != requester and one not in voted)


def yes_of(voted: Sequence[str], requester: str) -> str:
    """Who has said yes, by name; of whoever asked the name stands there already."""
    return ", ".join("who asked" if one == requester else person(one) for one in voted)


def reminder(approval: Approval, on_call: Sequence[str], now: float, *, allow_self_approval: bool = False) -> Message:
    """That a question waits, for whoever has not seen it."""
    plan = approval.plan
    return Message(
        title=f"{plan.name}: still to decide: roll back to epoch {plan.target.epoch}?",
        tone=Tone.WARNING,
        body=(waiting(approval.requester, asked_ts=approval.created_ts, expires_ts=approval.expires_ts, now=now),),
        mentions=reminded(on_call, approval.requester, allow_self_approval=allow_self_approval),
    )


def waiting(requester: str, *, asked_ts: float, expires_ts: float, now: float) -> str:
    """How long a question has waited and will wait."""
    return f"Asked {duration(now - asked_ts)} ago by {actor(requester)}, expires in {duration(expires_ts - now)}."


def reminded(people: Sequence[str], requester: str, *, allow_self_approval: bool) -> tuple[str, ...]:
    """Whom a reminder calls: who asked only where nobody else is to be called, and they may decide it."""
    others = tuple(one for one in people if one != requester)
    return others if others or not allow_self_approval else tuple(people)


def _buttons(approval: Approval) -> tuple[Button, ...]:
    """The recommended one stands out: it is what a tired thumb finds."""
    plan = approval.plan
    advised = recommend(plan, past_saving=bool(approval.why)).choice
    first = Button(
        action=ActionId.APPROVE,
        label="Roll back now",
        value=approval.id,
        style=ButtonStyle.PRIMARY if advised is OptionName.NOW else ButtonStyle.PLAIN,
        confirm=f"Stop {plan.name} and go back to the end of epoch {plan.target.epoch}?",
    )
    waits = any(option.name is OptionName.AFTER_EPOCH for option in plan.options)
    later = Button(action=ActionId.ROLL_BACK_AFTER_EPOCH, label="At the epoch's end", value=approval.id)
    stay = Button(
        action=ActionId.CONTINUE_RUN,
        label="Continue" if plan.was_active else "Leave it as it is",
        value=approval.run,
        style=ButtonStyle.PRIMARY if advised is OptionName.CONTINUE else ButtonStyle.PLAIN,
    )
    return (
        first,
        *((later,) if waits else ()),
        stay,
        Button(action=ActionId.REJECT, label="Reject", value=approval.id),
        Button(action=ActionId.DETAILS, label="Details", value=approval.id),
    )


def _first_lines(plan: RollbackPlan, *, why: str) -> tuple[str, ...]:
    """What happened, what it costs, what to press."""
    advice = recommend(plan, past_saving=bool(why))
    return (why or _happened(plan), _cost(plan), f"Recommended: {_CHOICES[advice.choice]}, as {advice.reason}")


_CHOICES = {
    OptionName.NOW: "roll back now",
    OptionName.AFTER_EPOCH: "roll back at the end of the epoch",
    OptionName.CONTINUE: "continue",
}
_LABELS = {
    OptionName.NOW: "Roll back now",
    OptionName.AFTER_EPOCH: "At the epoch's end",
    OptionName.CONTINUE: "Continue",
}
_MAX_TOLD = 3
"""Epochs with bad batches that the card names; the newest."""


def _happened(plan: RollbackPlan) -> str:
    later = [one for one in plan.incidents if one.epoch > plan.target.epoch]
    told = later or list(plan.incidents)
    if not told:
        return "No bad batch is on record; somebody asked for it."
    return "; ".join(_incident(one) for one in told[-_MAX_TOLD:]) + "."


def _incident(one: Incident) -> str:
    bad = counted(one.num_bad, "bad batch", "bad batches")
    every = "all " if one.num_bad > 1 else ""
    if one.num_in_weights is None:
        fate = f"{one.num_skipped} skipped"
    elif one.num_in_weights:
        fate = f"{f'{one.num_in_weights} ' if one.num_in_weights < one.num_bad else every}in the weights"
    else:
        fate = f"{every}kept out of the weights"
    return f"{bad} in epoch {one.epoch}, {fate}"


def _cost(plan: RollbackPlan) -> str:
    if not plan.gives_up:
        return "Costs no training."
    took = (
        f"{duration(plan.gives_up_s)} of training"
        if plan.gives_up_s is not None
        else "training of a length that is not known"
    )
    return f"Costs {took} ({_epochs(plan)})."


def _epochs(plan: RollbackPlan) -> str:
    first, last = plan.gives_up[0], plan.gives_up[-1]
    return f"epoch {first}" if first == last else f"epochs {first} to {last}"


def _choices(plan: RollbackPlan, *, why: str) -> tuple[Item, ...]:
    """The recommended one is marked."""
    advised = recommend(plan, past_saving=bool(why)).choice
    return tuple(
        Item(
            mark=Mark.RUNNING if option.name is advised else Mark.WAITING,
            text=_LABELS[option.name],
            detail=_option(option, plan.made_ts),
        )
        for option in plan.options
    )


def _both_ways(plan: RollbackPlan) -> tuple[tuple[str, str], ...]:
    """Back or on, in clock times; to wait for the next epoch's end is in the details."""
    ways = (option for option in plan.options if option.name is not OptionName.AFTER_EPOCH)
    return tuple((option.name.value, timeline(option)) for option in ways)


def _option(option: Option, made_ts: float) -> str:
    """What comes before the question is put for the run as it then is has no time of day: it would be past by then."""
    waits, soon_ts = option.name is OptionName.AFTER_EPOCH, made_ts + RENEW_S
    start = ""
    if option.start_ts and waits:
        start = f"starts {moment(option.start_ts)}" if option.start_ts >= soon_ts else "starts within minutes"
    lost = f"gives up {duration(option.lost_s)}" if option.lost_s and waits else ""
    end = "end of the run not known yet"
    if option.end_ts:
        end = f"run ends {moment(option.end_ts)}" if option.end_ts >= soon_ts else "run ends within minutes"
    return ", ".join(part for part in (start, lost, end) if part)


def _closed_card(approval: Approval) -> Message:
    """What was decided, about what; the times of the options are past, and would mislead."""
    plan = approval.plan
    title, tone, line = _closed(approval)
    why = approval.why or _happened(plan)
    deciders = {approval.closed_by, *(vote.user for vote in approval.votes)}
    by = "" if approval.requester in deciders else f" by {actor(approval.requester)},"  # nobody is named twice
    return Message(
        title=title,
        tone=tone,
        body=(line, why),
        fields=_facts(plan)[1:5],
        context=(f"asked for{by} {moment(approval.created_ts)}",),
        details=replace(details(plan, approval=approval.id), fields=_facts(plan)),
    )


def _closed(approval: Approval) -> tuple[str, Tone, str]:
    goal = f"{approval.plan.name}: rollback to epoch {approval.plan.target.epoch}"
    by = person(approval.closed_by) if approval.closed_by else "nobody"
    at = moment(approval.closed_ts) if approval.closed_ts else "an unknown time"
    why = f" Reason: {approval.reason}" if approval.reason else ""
    voters = ", ".join(person(vote.user) for vote in approval.votes) or by
    return {
        ApprovalState.APPROVED: (f"{goal} approved", Tone.PROGRESS, f"Approved by {voters}, {at}."),
        ApprovalState.REJECTED: (f"{goal} rejected", Tone.NEUTRAL, f"Rejected by {by}, {at}.{why}"),
        ApprovalState.AFTER_EPOCH: (
            f"{goal} at the end of the epoch",
            Tone.PROGRESS,
            f"Chosen by {by}, {at}. Then it is planned anew. To take it back: /train continue.",
        ),
        ApprovalState.EXPIRED: (
            f"{goal} expired",
            Tone.NEUTRAL,
            f"Nobody decided until {at}. Nothing was done. Ask again with /train execute rollback.",
        ),
        ApprovalState.VOID: (f"{goal} is void", Tone.NEUTRAL, f"Void since {at}. Nothing was done.{why}"),
    }[approval.state]


def _facts(plan: RollbackPlan) -> tuple[tuple[str, str], ...]:
    return (
        ("Run", f"{plan.name}, attempt {plan.attempt}, {_position(plan)}"),
        ("Back to", f"end of epoch {plan.target.epoch}{_saved(plan)}"),
        ("Trusted because", _trust(plan)),
        ("Given up", _given_up(plan)),
        ("Level", _level(plan)),
        *((("Queue", _queue(plan)),) if plan.launch.options is not None else ()),
    )


def _position(plan: RollbackPlan) -> str:
    if plan.at_epoch is None:
        return plan.state
    batch = (
        f", batch {plan.at_batch:,} of {plan.batches:,}" if plan.was_active and plan.at_batch and plan.batches else ""
    )
    return f"{plan.state}, epoch {plan.at_epoch} of {plan.epochs or '?'}{batch}"


def _saved(plan: RollbackPlan) -> str:
    return f", saved {moment(plan.target.saved_ts)}" if plan.target.saved_ts else ""


def _trust(plan: RollbackPlan) -> str:
    target = plan.target
    fitness = f", fitness {target.fitness:.4g}" if target.fitness is not None else ""
    kind = "full-precision state" if target.exact else "Ultralytics checkpoint"
    reason = "; ".join(target.reasons) or f"judged {target.verdict}"
    return f"{kind}: {reason}{fitness}"


def _given_up(plan: RollbackPlan) -> str:
    if not plan.gives_up:
        return "no epoch"
    took = duration(plan.gives_up_s) if plan.gives_up_s is not None else "time not measured"
    return f"{_epochs(plan)}: {took} of training"


def _level(plan: RollbackPlan) -> str:
    if not plan.launch.guarded:
        return "no level: this run is not guarded"
    kept = sum(change.kept_by is Keeper.USER for change in plan.settings)
    changed = sum(change.changes for change in plan.settings)
    told = f"{changed} settings change" if changed != 1 else "1 setting changes"
    told += f", {kept} kept as given by the user" if kept else ""
    return f"level {plan.level_before or 'unknown'} to {plan.level_after} ({told})"


def _process(plan: RollbackPlan) -> str:
    if plan.process is None:
        return "none known"
    started_ts = plan.process.started_ts
    since = f", started {moment(started_ts)}" if started_ts else ""
    return f"{plan.process.label}{since}" + ("" if plan.was_active else ", no longer running")


def _queue(plan: RollbackPlan) -> str:
    options = shlex.join(plan.launch.options or ()) or "none"
    wait = duration(plan.launch.waited_s) if plan.launch.waited_s is not None else None
    expected = f"the last start waited {wait}" if wait else "how long it will wait is not known"
    return f"submitted again with {options}; {expected}"
