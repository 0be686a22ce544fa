"""What operations say: their progress, and the answers to clicks on questions. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.known_by import has_ids, without_ids
from trainmaster.bot.core.conversation.message import ActionId, Button, Item, Mark, Message, Tone
from trainmaster.bot.core.conversation.tokens import actor, moment, person
from trainmaster.bot.core.conversation.words import quoted
from trainmaster.bot.core.decisions.approval import Approval, DecisionOutcome
from trainmaster.bot.core.decisions.buttons import resume_button, rollback_button
from trainmaster.bot.core.decisions.going_on import CAUSE, HANG, MAX_STARTS, NUMBER, launched_by
from trainmaster.bot.core.decisions.operation import (
    ARCHIVE,
    WAITS,
    Direction,
    Operation,
    OperationKind,
    OperationState,
    Step,
)
from trainmaster.bot.core.run.death import DeathCause
from trainmaster.bot.core.run.parsing import member_of
from trainmaster.bot.operations.start.messages import TOLD, anyway_button

_FOR_DETAILS: Final = re.compile(r" (?=Last lines: |Hint: )")
"""What a problem ends with: lines of a log, and what to do."""


def progress(operation: Operation, *, commands: str = "", mentions: Sequence[str] = ()) -> Message:
    """The operation step by step. A finished stop offers what comes next, the resume first. What it is known by, the
    words of a problem in full, and the ``commands`` that finish it by hand are its details. Nobody is named twice."""
    title, tone = _headline(operation)
    named = set(mentions)
    others = [person(one) for one in operation.decided_by if one not in {operation.requester, *named}]
    both = "asked for and approved" if operation.requester in operation.decided_by else "asked for"
    context = [f"{both} by {actor(operation.requester)}"] if operation.requester not in named else []
    if others:
        context.append("approved by " + ", ".join(others))
    stopped = operation.kind is OperationKind.STOP and operation.state is OperationState.DONE
    body = [*_by_itself(operation), *_problem(operation.problem)]
    if operation.halted_by:
        body.append(f"Emergency stop by {person(operation.halted_by)}.")
    buttons: tuple[Button, ...] = ()
    if stopped:
        buttons = (resume_button(operation.run, operation.attempt), rollback_button(operation.run))
    if operation.automatic and operation.state is OperationState.NEEDS_HUMAN and operation.step is Step.GATE:
        buttons = (anyway_button(operation.run, operation.attempt, told=operation.note(TOLD) or ""),)
    details = _details(operation, commands)
    more = Button(action=ActionId.DETAILS, label="Details", value=operation.id)
    return Message(
        title=title,
        tone=tone,
        body=tuple(body),
        items=tuple(_item(operation, step) for step in operation.steps),
        context=tuple(context),
        buttons=(*buttons, *((more,) if details is not None else ())),
        mentions=tuple(mentions),
        details=details,
    )


def _problem(problem: str) -> tuple[str, ...]:
    """What went wrong and what to do, in a line, without what only machines know things by."""
    parts = [
        re.sub(r"^Last lines: (?:.* \| )?(.*?)[.]?$", r"Last line: \1.", part)
        for part in _FOR_DETAILS.split(problem)
        if part
    ]
    # Of a command no part can be left out.
    told = " ".join(
        "What to do stands in the details." if part.startswith("Hint: ") and has_ids(part) else without_ids(part)
        for part in parts
    )
    return (told,) if told else ()


def _details(operation: Operation, commands: str) -> Message | None:
    """What the operation, its files and its processes are known by; None while there is nothing."""
    plan, problem = operation.plan, operation.problem
    known_by = []
    if plan is not None:
        known_by = [f"plan {plan.digest[:12]}", f"file {plan.target.file}, sha256 {plan.target.sha256[:12]}"]
    if operation.process is not None:
        known_by.append(f"trainer before: {operation.process.label}")
    if launched := launched_by(operation):
        known_by.append(f"trainer now: {launched.label}")
    if archive := operation.note(ARCHIVE):
        known_by.append(f"archive: {archive}")
    in_full = problem if problem != " ".join(_problem(problem)) else ""
    if not (known_by or in_full or commands):
        return None
    return Message(
        title=f"{operation.name}: details of the {operation.kind}",
        body=("To finish it by hand:",) if commands else (),
        excerpt="\n".join(part for part in (_FOR_DETAILS.sub("\n", in_full), commands) if part),
        context=tuple(known_by),
    )


def _by_itself(operation: Operation) -> tuple[str, ...]:
    if hang := operation.note(HANG):
        if operation.state is OperationState.VOIDED:
            return (f"It hung: {hang}.",)
        after = "" if operation.halted_by else ", and resumed by itself"
        return (f"It hangs: {hang}. It is asked to save, and ended{after}.",)
    cause = member_of(DeathCause, operation.note(CAUSE))
    if cause is None:
        return ()
    number = operation.note(NUMBER) or "1"
    why = f"Why: {cause.text}. Try {number} of {MAX_STARTS} for this cause until an epoch is finished."
    undo = f"To prevent or undo it: /train stop now of {quoted(operation.name)}."
    return (why, undo) if operation.state is OperationState.OPEN else (why,)


def _headline(operation: Operation) -> tuple[str, Tone]:
    name = operation.name
    target = operation.plan.target.epoch if operation.plan else None
    doing, done, failed = {
        OperationKind.ROLLBACK: (
            f"rolling back to epoch {target}",
            f"{name} rolled back to epoch {target}",
            "rollback",
        ),
        OperationKind.STOP: ("stopping", f"{name} is stopped", "stop"),
        OperationKind.RESUME: ("resuming", f"{name} goes on", "resume"),
        OperationKind.CHANGE: (
            f"going on with {operation.note('settings')}",
            f"{name} goes on with {operation.note('settings')}",
            "change",
        ),
    }[operation.kind]
    if operation.automatic:
        doing, done = f"{doing} by itself", f"{name} goes on by itself"
    if operation.state is OperationState.OPEN:
        undoing = operation.direction is Direction.UNDO
        return (f"{name}: {doing}" + (", undoing" if undoing else ""), Tone.WARNING if undoing else Tone.PROGRESS)
    return {
        OperationState.DONE: (done, Tone.GOOD),
        OperationState.UNDONE: (f"{name}: the {failed} failed; the run is as it was", Tone.WARNING),
        OperationState.VOIDED: (f"{name}: the {failed} is void, the run has changed", Tone.NEUTRAL),
        OperationState.ABORTED: (f"{name}: the {failed} was broken off on request", Tone.WARNING),
        OperationState.NEEDS_HUMAN: (f"{name}: the {failed} failed, it needs a person now", Tone.CRITICAL),
    }[operation.state]


def _item(operation: Operation, step: Step) -> Item:
    found = dict(operation.done).get(step)
    if found is not None:
        return Item(mark=Mark.DONE, text=step.words, detail=without_ids(found))
    if step is operation.step and operation.state is OperationState.OPEN:
        return Item(mark=Mark.RUNNING, text=step.words, detail=without_ids(operation.note(WAITS) or ""))
    if step is operation.step and operation.state is not OperationState.DONE:
        return Item(mark=Mark.FAILED, text=step.words)
    return Item(mark=Mark.WAITING, text=step.words)


def needs_human(operation: Operation) -> Finding:
    """That the operation ended half done and nobody has taken it up."""
    return Finding(
        run=operation.run,
        check=CheckName.OPERATION,
        key=operation.id,
        severity=Severity.CRITICAL,
        nature=Nature.CONDITION,
        ts=operation.updated_ts,
        title=f"{operation.name}: the {operation.kind} needs a person",
        body=_problem(operation.problem),
        hint="the details of its message have the exact commands; or /train execute rollback to plan anew",
        resolution=f"{operation.name}: taken care of",
    )


def answer(outcome: DecisionOutcome, approval: Approval | None, on_call: Sequence[str]) -> Message:
    """What the person who clicked reads."""
    own = approval.requester if approval and outcome is DecisionOutcome.OWN_REQUEST else None
    deciders = ", ".join(person(one) for one in on_call if one != own) or "nobody"
    by = person(approval.closed_by) if approval and approval.closed_by else "somebody else"
    at = f" ({moment(approval.closed_ts)})" if approval and approval.closed_ts else ""
    votes, required = (len(approval.votes), approval.required) if approval else (0, 0)
    title, body = {
        DecisionOutcome.APPROVED: ("Approved. The rollback has begun.", "Its message shows every step."),
        DecisionOutcome.AFTER_EPOCH: (
            "Chosen: roll back at the end of the epoch.",
            "The run goes on until then. To take it back: /train continue.",
        ),
        DecisionOutcome.VOTE_COUNTED: (f"Your yes is counted: {votes} of {required}.", ""),
        DecisionOutcome.VOTED_BEFORE: (f"Your yes was counted before: {votes} of {required}.", ""),
        DecisionOutcome.REJECTED: ("Rejected. Nothing was done.", ""),
        DecisionOutcome.ALREADY_APPROVED: (f"{by} approved this{at}; your click changed nothing.", ""),
        DecisionOutcome.ALREADY_REJECTED: (f"{by} rejected this{at}; your click changed nothing.", ""),
        DecisionOutcome.ALREADY_AFTER_EPOCH: (
            f"{by} chose the end of the epoch{at}; your click changed nothing.",
            "To take that back: /train continue.",
        ),
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
            f"On call beside you: {deciders}. You can reject it to take it back.",
        ),
        DecisionOutcome.BUSY: ("Another operation is under way on this run; your click changed nothing.", ""),
        DecisionOutcome.UNKNOWN: ("There is no such question (any more).", "Ask with /train execute rollback."),
    }[outcome]
    good = outcome in {
        DecisionOutcome.APPROVED,
        DecisionOutcome.AFTER_EPOCH,
        DecisionOutcome.VOTE_COUNTED,
        DecisionOutcome.REJECTED,
    }
    return Message(title=title, tone=Tone.GOOD if good else Tone.NEUTRAL, body=(body,) if body else ())
