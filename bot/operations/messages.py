"""What operations and approvals say: plan, card, progress, and the answers to clicks. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import ActionId, Button, ButtonStyle, Item, Mark, Message, Table, Tone
from trainmaster.bot.core.conversation.tokens import actor, moment, person
from trainmaster.bot.core.decisions.approval import Approval, ApprovalState, DecisionOutcome
from trainmaster.bot.core.decisions.going_on import CAUSE, MAX_STARTS, NUMBER
from trainmaster.bot.core.decisions.operation import WAITS, Direction, Operation, OperationKind, OperationState, Step
from trainmaster.bot.core.decisions.plan import Difference, Keeper, Option, OptionName, RollbackPlan
from trainmaster.bot.core.run.death import DeathCause
from trainmaster.bot.core.run.forecast import duration

STEP_TITLES = {
    Step.GATE: "Ready to start",
    Step.HOLD: "Hold: nothing has changed since the approval",
    Step.VERIFY: "Verify the checkpoint",
    Step.STOP: "Stop the trainer",
    Step.ARCHIVE: "Archive what came after",
    Step.RESTORE: "Restore the checkpoint",
    Step.RESTART: "Start the trainer",
    Step.CONFIRM: "See healthy batches",
}


def plan_message(plan: RollbackPlan, *, title: str, tone: Tone = Tone.WARNING, body: Sequence[str] = ()) -> Message:
    """Everything that a person needs at three in the morning, on one screen."""
    changing = [change for change in plan.settings if change.changes]
    table = None
    if changing:
        # Three columns fit a phone; the number is the layer's.
        rows = tuple(
            (f"{change.layer.split()[0]} {change.setting}", change.before, change.after) for change in changing
        )
        table = Table(header=("Layer, setting", "Now", "After"), rows=rows)
    return Message(
        title=title,
        tone=tone,
        body=(*body, f"On record: {_incidents(plan)}"),
        fields=(*_facts(plan), *((option.name.value, _option(option)) for option in plan.options)),
        items=tuple(Item(mark=Mark.WARNING, text=risk) for risk in plan.risks),
        table=table,
        context=(f"plan {plan.digest[:12]}, file {plan.target.file}, sha256 {plan.target.sha256[:12]}",),
    )


def _facts(plan: RollbackPlan) -> tuple[tuple[str, str], ...]:
    return (
        ("Run", f"{plan.name}, attempt {plan.attempt}, {_position(plan)}"),
        ("Back to", f"end of epoch {plan.target.epoch}{_saved(plan)}"),
        ("Trusted because", _trust(plan)),
        ("Given up", _given_up(plan)),
        ("Level", _level(plan)),
        ("Process", _process(plan)),
        *((("Queue", _queue(plan)),) if plan.launch.options is not None else ()),
    )


def card(approval: Approval, *, on_call: Sequence[str] = (), changed: Sequence[Difference] = ()) -> Message:
    """The question, or what became of it; only a pending one has buttons."""
    plan = approval.plan
    goal = f"{plan.name} to epoch {plan.target.epoch}"
    asked = f"Asked for by {actor(approval.requester)}, {moment(approval.created_ts)}."
    if approval.state is ApprovalState.PENDING:
        deciders = ", ".join(map(person, on_call)) or "the people on call"
        need = f"{approval.required} of: {deciders}" if approval.required > 1 else deciders
        voted = ", ".join(person(vote.user) for vote in approval.votes)
        body = [
            *([f"Why now: {approval.why}"] if approval.why else []),
            *(f"Changed since it was asked: {d.what} was {d.then}, is {d.now}." for d in changed),
            asked,
            f"Decides: {need}. Open until {moment(approval.expires_ts)}.",
            *([f"Yes so far ({len(approval.votes)} of {approval.required}): {voted}."] if voted else []),
        ]
        base = plan_message(plan, title=f"Roll back {goal}?", body=body)
        return Message(
            title=base.title,
            tone=base.tone,
            body=base.body,
            fields=base.fields,
            items=base.items,
            table=base.table,
            context=(*base.context, f"approval {approval.id}; to wait instead: reject, then /train stop after epoch"),
            buttons=(
                Button(
                    action=ActionId.APPROVE,
                    label="Approve",
                    value=approval.id,
                    style=ButtonStyle.PRIMARY,
                    confirm=f"Stop {plan.name} and go back to the end of epoch {plan.target.epoch}?",
                ),
                Button(action=ActionId.REJECT, label="Reject", value=approval.id, style=ButtonStyle.DANGER),
            ),
            mentions=tuple(on_call),
        )
    title, tone, line = _closed(approval, goal)
    # What was decided, about what; the times of the options are past, and would mislead.
    body = [line, asked, *([f"Why: {approval.why}"] if approval.why else []), f"On record: {_incidents(plan)}"]
    context = (f"plan {plan.digest[:12]}, file {plan.target.file}", f"approval {approval.id}")
    return Message(title=title, tone=tone, body=tuple(body), fields=_facts(plan), context=context)


def _closed(approval: Approval, goal: str) -> tuple[str, Tone, str]:
    by = person(approval.closed_by) if approval.closed_by else "nobody"
    at = moment(approval.closed_ts) if approval.closed_ts else "an unknown time"
    why = f" Reason: {approval.reason}" if approval.reason else ""
    voters = ", ".join(person(vote.user) for vote in approval.votes) or by
    return {
        ApprovalState.APPROVED: (f"Rollback of {goal}: approved", Tone.PROGRESS, f"Approved by {voters}, {at}."),
        ApprovalState.REJECTED: (f"Rollback of {goal}: rejected", Tone.NEUTRAL, f"Rejected by {by}, {at}.{why}"),
        ApprovalState.EXPIRED: (
            f"Rollback of {goal}: expired",
            Tone.NEUTRAL,
            f"Nobody decided until {at}. Nothing was done. Ask again with /train execute rollback.",
        ),
        ApprovalState.VOID: (f"Rollback of {goal}: void", Tone.NEUTRAL, f"Void since {at}. Nothing was done.{why}"),
    }[approval.state]


def reminder(approval: Approval, on_call: Sequence[str], now: float) -> Message:
    """That a question waits, for whoever has not seen it."""
    plan = approval.plan
    waited, left = duration(now - approval.created_ts), duration(approval.expires_ts - now)
    return Message(
        title=f"Still to decide: roll back {plan.name} to epoch {plan.target.epoch}?",
        tone=Tone.WARNING,
        body=(f"Asked {waited} ago by {actor(approval.requester)}, expires in {left}.",),
        mentions=tuple(on_call),
    )


_MARKS = {True: Mark.DONE, False: Mark.WAITING}


def progress(operation: Operation, *, proposal: bool = True) -> Message:
    """The operation step by step. A finished stop offers the rollback."""
    title, tone = _headline(operation)
    context = [f"operation {operation.id}, asked for by {actor(operation.requester)}"]
    if operation.decided_by:
        context.append("approved by " + ", ".join(map(person, operation.decided_by)))
    stopped = operation.kind is OperationKind.STOP and operation.state is OperationState.DONE
    body = [*_by_itself(operation), *([operation.problem] if operation.problem else [])]
    if operation.halted_by:
        body.append(f"Emergency stop by {person(operation.halted_by)}.")
    buttons = (
        (
            Button(
                action=ActionId.PROPOSE_ROLLBACK,
                label="Propose rollback",
                value=operation.run,
                style=ButtonStyle.PRIMARY,
            ),
        )
        if stopped and proposal
        else ()
    )
    return Message(
        title=title,
        tone=tone,
        body=tuple(body),
        items=tuple(_item(operation, step) for step in operation.steps),
        context=tuple(context),
        buttons=buttons,
    )


def _by_itself(operation: Operation) -> tuple[str, ...]:
    cause = operation.note(CAUSE)
    if cause not in set(DeathCause):
        return ()
    number = operation.note(NUMBER) or "1"
    why = f"Why: {DeathCause(cause).text}. Try {number} of {MAX_STARTS} for this cause until an epoch is finished."
    return (why, "To prevent or undo it: /train stop now.") if operation.state is OperationState.OPEN else (why,)


def _headline(operation: Operation) -> tuple[str, Tone]:
    name = operation.name
    target = operation.plan.target.epoch if operation.plan else None
    doing, done = {
        OperationKind.ROLLBACK: (f"Rolling back {name} to epoch {target}", f"{name} rolled back to epoch {target}"),
        OperationKind.STOP: (f"Stopping {name}", f"{name} is stopped"),
        OperationKind.RESUME: (f"Resuming {name}", f"{name} goes on"),
    }[operation.kind]
    if operation.automatic:
        doing, done = f"{doing} by itself", f"{name} goes on by itself"
    if operation.state is OperationState.OPEN:
        undoing = operation.direction is Direction.UNDO
        return (f"{doing}: undoing" if undoing else doing, Tone.WARNING if undoing else Tone.PROGRESS)
    return {
        OperationState.DONE: (done, Tone.GOOD),
        OperationState.UNDONE: (f"{doing} failed; the run is as it was", Tone.WARNING),
        OperationState.VOIDED: (f"{doing}: void, the run has changed", Tone.NEUTRAL),
        OperationState.ABORTED: (f"{doing}: stopped on request", Tone.WARNING),
        OperationState.NEEDS_HUMAN: (f"{doing} failed: {name} needs a person now", Tone.CRITICAL),
    }[operation.state]


def _item(operation: Operation, step: Step) -> Item:
    found = dict(operation.done).get(step)
    if found is not None:
        return Item(mark=Mark.DONE, text=STEP_TITLES[step], detail=found)
    if step is operation.step and operation.state is OperationState.OPEN:
        return Item(mark=Mark.RUNNING, text=STEP_TITLES[step], detail=operation.note(WAITS) or "")
    if step is operation.step and operation.state is not OperationState.DONE:
        return Item(mark=Mark.FAILED, text=STEP_TITLES[step])
    return Item(mark=Mark.WAITING, text=STEP_TITLES[step])


def needs_human(operation: Operation) -> Finding:
    """That the operation ended half done and nobody has taken it up."""
    return Finding(
        run=operation.run,
        check=CheckName.OPERATION,
        key=operation.id,
        severity=Severity.CRITICAL,
        nature=Nature.CONDITION,
        ts=operation.updated_ts,
        title=f"The {operation.kind} of {operation.name} needs a person",
        body=(operation.problem,),
        hint="its message has the exact commands; or /train execute rollback to plan anew",
        resolution=f"{operation.name} has been taken care of",
    )


def answer(outcome: DecisionOutcome, approval: Approval | None, on_call: Sequence[str]) -> Message:
    """What the person who clicked reads."""
    deciders = ", ".join(map(person, on_call)) or "nobody: ONCALL_USERS is empty"
    by = person(approval.closed_by) if approval and approval.closed_by else "somebody else"
    at = f" ({moment(approval.closed_ts)})" if approval and approval.closed_ts else ""
    votes, required = (len(approval.votes), approval.required) if approval else (0, 0)
    title, body = {
        DecisionOutcome.APPROVED: ("Approved. The rollback has begun.", "Its message shows every step."),
        DecisionOutcome.VOTE_COUNTED: (f"Your yes is counted: {votes} of {required}.", ""),
        DecisionOutcome.VOTED_BEFORE: (f"Your yes was counted before: {votes} of {required}.", ""),
        DecisionOutcome.REJECTED: ("Rejected. Nothing was done.", ""),
        DecisionOutcome.ALREADY_APPROVED: (f"{by} approved this{at}; your click changed nothing.", ""),
        DecisionOutcome.ALREADY_REJECTED: (f"{by} rejected this{at}; your click changed nothing.", ""),
        DecisionOutcome.EXPIRED: (
            "This question has expired; your click changed nothing.",
            "Ask again with /train execute rollback.",
        ),
        DecisionOutcome.VOID: (
            "This question is void: the run has changed, or a newer question replaced it.",
            "Look for the newer card, or ask again with /train execute rollback.",
        ),
        DecisionOutcome.NOT_ON_CALL: ("Only people on call decide this.", f"On call: {deciders}."),
        DecisionOutcome.OWN_REQUEST: (
            "You asked for this rollback, so somebody else must approve it.",
            f"On call: {deciders}. You can reject it to take it back.",
        ),
        DecisionOutcome.BUSY: ("Another operation is under way on this run; your click changed nothing.", ""),
        DecisionOutcome.UNKNOWN: ("There is no such question (any more).", "Ask with /train execute rollback."),
    }[outcome]
    good = outcome in {DecisionOutcome.APPROVED, DecisionOutcome.VOTE_COUNTED, DecisionOutcome.REJECTED}
    return Message(title=title, tone=Tone.GOOD if good else Tone.NEUTRAL, body=(body,) if body else ())


def _position(plan: RollbackPlan) -> str:
    if plan.at_epoch is None:
        return plan.state
    batch = f", batch {plan.at_batch} of {plan.batches}" if plan.was_active and plan.at_batch and plan.batches else ""
    return f"{plan.state}, epoch {plan.at_epoch} of {plan.epochs or '?'}{batch}"


def _saved(plan: RollbackPlan) -> str:
    return f", saved {moment(plan.target.saved_ts)}" if plan.target.saved_ts else ""


def _trust(plan: RollbackPlan) -> str:
    target = plan.target
    fitness = f", fitness {target.fitness:.4g}" if target.fitness is not None else ""
    kind = "full-precision state" if target.exact else "Ultralytics checkpoint"
    reason = "; ".join(target.reasons) or f"judged {target.verdict}"
    return f"{kind} of epoch {target.epoch}: {reason}; sha256 {target.sha256[:12]}{fitness}"


def _given_up(plan: RollbackPlan) -> str:
    if not plan.gives_up:
        return "no epoch"
    first, last = plan.gives_up[0], plan.gives_up[-1]
    epochs = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    took = duration(plan.gives_up_s) if plan.gives_up_s is not None else "time not measured"
    return f"{epochs}: {took} of training"


def _level(plan: RollbackPlan) -> str:
    if not plan.launch.guarded:
        return "none: this run is not guarded"
    kept = sum(change.kept_by is Keeper.USER for change in plan.settings)
    changed = sum(change.changes for change in plan.settings)
    counted = f"{changed} settings change" + (f", {kept} kept as given by the user" if kept else "")
    return f"{plan.level_before or 'unknown'} to {plan.level_after} ({counted})"


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


def _incidents(plan: RollbackPlan) -> str:
    if not plan.incidents:
        return "no bad batch is on record; somebody asked for it."
    return "; ".join(
        f"epoch {i.epoch}: {i.num_bad} bad {'batch' if i.num_bad == 1 else 'batches'}, {i.num_skipped} skipped"
        for i in plan.incidents[-6:]
    )


def _option(option: Option) -> str:
    start = f"starts {moment(option.start_ts)}" if option.start_ts and option.name is not OptionName.NOW else ""
    end = f"run ends {moment(option.end_ts)}" if option.end_ts else "end of the run not known yet"
    lost = f"gives up {duration(option.lost_s)} of training" if option.lost_s else ""
    return "; ".join(part for part in (start, end, lost, option.note) if part)
