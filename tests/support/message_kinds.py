"""A sample of every kind of message, made by the code that makes it in earnest, of a run as a trainer writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.clocks import SetClock
from tests.support.run_dirs import START_TS, WrittenRun
from tests.support.worlds import ANNA, BEN, CommandWorld, FakeAlerts, FakeRuns
from trainmaster.bot.alerting.card import compose_card, compose_line
from trainmaster.bot.alerting.compose import compose_alert, compose_word
from trainmaster.bot.alerting.compose_group import Group, compose_group, compose_pages
from trainmaster.bot.alerting.dedup import NotifyReason
from trainmaster.bot.checks import CHECKS, CheckLimits
from trainmaster.bot.cli import test_alert
from trainmaster.bot.core.alerts.alert import Alert, AlertState
from trainmaster.bot.core.alerts.alert_record import Told
from trainmaster.bot.core.alerts.digest import compose_absence, compose_digest
from trainmaster.bot.core.alerts.finding import Finding, Nature, Severity
from trainmaster.bot.core.check_name import CheckName
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.request import Origin, Request
from trainmaster.bot.core.decisions.approval import Approval, ApprovalState, Vote
from trainmaster.bot.core.decisions.archive import ArchiveFact
from trainmaster.bot.core.decisions.change import Change, Proposal
from trainmaster.bot.core.decisions.gate import GateCheck, GateFact, GateOutcome
from trainmaster.bot.core.decisions.operation import SETTINGS, STEPS, Operation, OperationKind, OperationState, Step
from trainmaster.bot.core.decisions.plan import RollbackPlan
from trainmaster.bot.core.health.no_run import DATABASE_RUN
from trainmaster.bot.core.run.epoch_report import ReportLimits, judge_epoch
from trainmaster.bot.core.run.facts import CheckpointFact, ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.identity import encode_identity
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.trainer_levels import TrainerLevels
from trainmaster.bot.operations import listings, messages
from trainmaster.bot.operations.change import messages as change_messages
from trainmaster.bot.operations.change.messages import ChangeEnd
from trainmaster.bot.operations.questions import question
from trainmaster.bot.operations.rollback.planning import make_plan
from trainmaster.bot.operations.start.messages import gate_message
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.commands import COMMANDS, dispatch
from trainmaster.commands.home import home
from trainmaster.trainer.contract import EventKind, Verdict

EPOCH_S = 18_000.0
"""Five hours, as of the user's run."""
NOW = START_TS + 3.4 * EPOCH_S
SHA = "5a" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``run`` is the name that the notification must begin with; empty where the message is about no one run."""

    name: str
    message: Message
    run: str = ""


def every_kind(folder: Path, name: str = "night", *, epochs: int = 40, run: WrittenRun | None = None) -> Iterator[Kind]:
    """Of a run that is in its fourth epoch and had bad batches in it, or of ``run``."""
    view = _view(run or written(folder, name, epochs=epochs))
    plan = plan_of(view)
    yield from _of_checks(view)
    yield from _of_questions(plan, view)
    yield from _of_operations(plan)
    yield from _of_changes(view)
    yield Kind(name="card", message=compose_card(view, _alerts(view)), run=name)
    yield from _of_all_runs(view)
    yield from _of_many_runs(view)
    yield from _of_the_bot()
    yield from _of_lists(view)


def written(folder: Path, name: str, *, epochs: int = 40, in_weights: bool = True) -> WrittenRun:
    """Three good epochs, and bad batches in the fourth, one of which went into the weights."""
    run = WrittenRun(folder, name, epochs=epochs, batches=5000)
    for epoch in range(1, 4):
        run.start_epoch(epoch, (epoch - 1) * EPOCH_S)
        run.finish_epoch(epoch, epoch * EPOCH_S, loss=5.0 - epoch, seconds=EPOCH_S, clipped=12)
        run.save_checkpoint(epoch, epoch * EPOCH_S)
        for batch in range(0, 5000, 100):
            run.series(epoch=epoch, batch=batch, loss=5.0 - epoch - batch / 5000)
    run.start_epoch(4, 3 * EPOCH_S)
    for number in range(12):
        action = "observed" if in_weights and number == 11 else "skipped"
        images = [f"IMG_{8 * number + one:04d}_night.jpg" for one in range(8)]
        run.bad_batch(4, 1000 + 3 * number, 3.3 * EPOCH_S, action=action, images=images)
    run.beat(3.4 * EPOCH_S, epoch=4, batch=1040, epoch_elapsed_s=0.4 * EPOCH_S, clipped_epoch=31)
    return run


def _view(run: WrittenRun) -> RunView:
    view = RunReader(run.layout.root, first_seen_ts=START_TS).read(NOW)
    return replace(view, process=ProcessFact(status=ProcessStatus.ALIVE, ts=NOW))


def saved() -> list[CheckpointFact]:
    """What three good epochs left."""
    return [
        CheckpointFact(
            epoch=epoch,
            file=f"guard/states/epoch{epoch:04d}.ultralytics.pt",
            kind="ultralytics",
            ts=START_TS + epoch * EPOCH_S,
            sha256=SHA,
            size_bytes=700_000_000,
            verdict=Verdict.CLEAN,
            reasons=("all 355 tensors finite",),
            fitness=0.31 + epoch / 1000,
            resumable=True,
        )
        for epoch in range(1, 4)
    ]


def plan_of(view: RunView) -> RollbackPlan:
    """Back to the end of the third epoch."""
    return make_plan(view, saved(), TrainerLevels(), NOW)


def approval_of(plan: RollbackPlan, **changes: object) -> Approval:
    """A question that waits."""
    base = Approval(
        id="36753d16d305",
        plan=plan,
        requester=ANNA,
        channel=None,
        thread_of=None,
        created_ts=NOW,
        expires_ts=NOW + 3600.0,
        required=1,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def _alerts(view: RunView) -> list[Alert]:
    found = [one for check in CHECKS for one in check.look(view, CheckLimits(), NOW)]
    return [_alert(one) for one in found if one.severity is not Severity.INFO]


def _alert(finding: Finding, **changes: object) -> Alert:
    base = Alert(finding=finding, state=AlertState.FIRING, since_ts=finding.ts, updated_ts=NOW, told=True)
    return replace(base, **changes)  # type: ignore[arg-type]


def _of_checks(view: RunView) -> Iterator[Kind]:
    """Every finding of this run and of one that ended in every way, as an alert through its whole life."""
    ended = WrittenRun(view.directory.parent / "ended", view.name, epochs=4)
    ended.start_epoch(1, 0)
    for kind, data in _ENDS.items():
        ended.event(kind, 60.0, **data)
    shown = _view(ended)
    found = [one for check in CHECKS for one in check.look(view, CheckLimits(), NOW)]
    found += [one for check in CHECKS for one in check.look(shown, CheckLimits(), START_TS + 90)]
    for finding in found:
        alert = _alert(finding)
        name = f"alert {finding.check} {finding.severity}"
        yield Kind(name=name, message=compose_alert(alert, mentions=(ANNA, BEN), silence_s=7200.0), run=view.name)
        acked = replace(alert, acked_by=ANNA, acked_ts=NOW)
        yield Kind(name=f"{name} acknowledged", message=compose_alert(acked, silence_s=7200.0), run=view.name)
        yield Kind(name=f"{name} line", message=compose_line(alert), run=view.name)
        if finding.nature is Nature.CONDITION:
            over = replace(acked, state=AlertState.RESOLVED, resolved_ts=NOW + 60)
            yield Kind(name=f"{name} resolved", message=compose_alert(over, silence_s=7200.0), run=view.name)
        told = Told(ts=NOW, fired_ts=NOW, times_fired=1, severity=finding.severity)
        for why in (NotifyReason.REFIRED, NotifyReason.RAISED, NotifyReason.REPEAT, NotifyReason.ESCALATED):
            word = compose_word(alert, why, told, NOW + 900, mentions=(BEN,))
            yield Kind(name=f"{name} {why}", message=word, run=view.name)


_ENDS: dict[EventKind, dict[str, object]] = {
    EventKind.RUN_STARTED: {"from_epoch": 1, "level": "standard", "epochs": 4, "host": "lab-7", "pid": 4711},
    EventKind.RUN_STOPPED: {"resumable": True, "epoch": 1, "batch": 57},
    EventKind.RUN_GAVE_UP: {
        "epoch": 1,
        "batch": 57,
        "why": "10 bad batches in a row",
        "skipped_epoch": 10,
        "streak": 10,
    },
    EventKind.RUN_REFUSED: {"checkpoint": "last.pt", "verdict": "contaminated", "reasons": ["NaN in 3 tensors"]},
    EventKind.RUN_CRASHED: {"error": "RuntimeError: CUDA error", "traceback": ["line 1", "line 2"]},
    EventKind.RUN_FINISHED: {"seconds": 72_000.0, "fitness": 0.41, "epochs": 4},
    EventKind.OUT_OF_MEMORY: {"batch_size_before": 32, "batch_size_after": 16},
    EventKind.DATA_FAULT: {"count": 2, "where": "train", "files": ["a.jpg", "b.jpg"], "reasons": ["cut off", "empty"]},
    EventKind.STORAGE_FAULT: {"what": "checkpoint", "error": "no space left on device"},
    EventKind.STATE_HEALED: {"what": "EMA", "tensors": 3, "epoch": 1},
}


def _of_questions(plan: RollbackPlan, view: RunView) -> Iterator[Kind]:
    pending = approval_of(plan)
    report = judge_epoch(view, view.epochs.get((1, 3)) or view.story()[-1], ReportLimits())
    point = replace(pending, ended_epoch=3, criteria=tuple(one.item for one in report.judged))
    storm = replace(pending, requester="Trainmaster", why="12 bad batches in a row; the last one was in epoch 4.")
    yield Kind(name="question", message=question.card(pending, on_call=(ANNA, BEN)), run=plan.name)
    yield Kind(name="question of the bot", message=question.card(storm, on_call=(ANNA, BEN)), run=plan.name)
    yield Kind(name="decision point", message=question.card(point, on_call=(ANNA, BEN)), run=plan.name)
    two = replace(pending, required=2, votes=(Vote(user=BEN, ts=NOW),))
    yield Kind(name="question of two", message=question.card(two, on_call=(ANNA, BEN)), run=plan.name)
    for state in ApprovalState:
        closed = replace(pending, state=state, closed_by=BEN, closed_ts=NOW + 60, reason="The images are fixed.")
        yield Kind(name=f"question {state}", message=question.card(closed), run=plan.name)
    yield Kind(name="question details", message=question.details(plan, approval=pending.id), run=plan.name)
    yield Kind(name="question reminder", message=question.reminder(pending, (BEN,), NOW + 900), run=plan.name)
    yield Kind(name="plan, dry", message=question.dry_plan(plan), run=plan.name)


def _of_operations(plan: RollbackPlan) -> Iterator[Kind]:
    for kind in OperationKind:
        base = Operation(
            id="36753d16d305",
            kind=kind,
            run=plan.run,
            name=plan.name,
            directory=plan.directory,
            requester=ANNA,
            decided_by=(BEN,),
            channel=None,
            thread_of=None,
            created_ts=NOW,
            updated_ts=NOW,
            owner=ProcessIdentity(pid=1, create_time=1.0, host="lab-7"),
            fence=1,
            step=Step.STOP,
            process=ProcessIdentity(pid=19142, create_time=1.0, host="lab-7"),
            attempt=1,
            was_active=True,
            launch=None,
            plan=plan if kind is OperationKind.ROLLBACK else None,
            notes=(
                ("archive", "/data/runs/archive/night/rollback-20261129-010203"),
                ("launched", json.dumps(encode_identity(ProcessIdentity(pid=25752, create_time=2.0, host="lab-7")))),
                *(((SETTINGS, "lr0=0.0002"),) if kind is OperationKind.CHANGE else ()),
            ),
        )
        steps = STEPS[kind]
        for state in OperationState:
            broken = state not in {OperationState.OPEN, OperationState.DONE}
            number = len(steps) if state is OperationState.DONE else steps.index(Step.STOP) if Step.STOP in steps else 1
            done = tuple((step, FOUND[step]) for step in steps[:number])
            operation = replace(base, state=state, done=done, problem=PROBLEM if broken else "")
            commands = COMMANDS_BY_HAND if state is OperationState.NEEDS_HUMAN else ""
            mentions = (ANNA, BEN) if commands else ()
            message = messages.progress(operation, commands=commands, mentions=mentions)
            yield Kind(name=f"{kind} {state}", message=message, run=plan.name)
        if kind is not OperationKind.STOP:
            # As an operation says what an older version of a step found, which is still in its row.
            older = replace(base, done=tuple((step, OLDER_FOUND.get(step, FOUND[step])) for step in steps))
            yield Kind(name=f"{kind} of before", message=messages.progress(older), run=plan.name)
        person = messages.needs_human(replace(base, problem=PROBLEM))
        yield Kind(name=f"{kind} alert", message=compose_alert(_alert(person), silence_s=7200.0), run=plan.name)


FOUND = {
    Step.GATE: "nothing stands against it",
    Step.HOLD: "",
    Step.VERIFY: "clean, and the file that was approved",
    Step.STOP: "stopped in 3 s; its state is saved and can be resumed; its GPU is free again",
    Step.ARCHIVE: "/train archive lists it",
    Step.RESTORE: "epoch 3 is where it goes on",
    Step.RESTART: "attempt 4, level strict",
    Step.CONFIRM: (
        "epoch 4, batch 20 of 5000: box 1.5, cls 2.25; no bad batch; attempt 1 had box 1.6, cls 2.5 in this epoch"
    ),
}
"""What each step says that it found, as the steps write it (``steps.py``, ``stop.py``, ``restart.py``)."""
OLDER_FOUND = {
    Step.HOLD: "plan 991fab8fc2e3 still holds",
    Step.VERIFY: "clean, sha256 812bcade044d",
    Step.ARCHIVE: "in /data/runs/archive/night/rollback-20261129-010203",
    Step.RESTART: "attempt 4, process 25752, level strict",
}
PROBLEM = (
    "/data/runs/night has 0.2 GiB free, a rollback wants 1.4 GiB; process 19142 survives SIGKILL. "
    "Last lines: [Errno 28] No space left on device: '/data/runs/night/last.pt' | exit "
    "Hint: see: ps -o pid,stat,wchan:30,cmd -p 19142; cd /data && /usr/bin/python -P -m trainmaster.trainer resume "
    "/data/runs/night"
)
COMMANDS_BY_HAND = "cd /data\n/usr/bin/python -P -m trainmaster.trainer resume /data/runs/night from=3"


def _of_changes(view: RunView) -> Iterator[Kind]:
    """Other settings, asked for by somebody who is on call too, and every way the question ends."""
    asked = Proposal(
        id="change-36753d16d305",
        run=view.run,
        name=view.name,
        attempt=1,
        process="process 19142 1.0",
        changes=(Change(key="lr0", before="0.0005", after="0.0002"), Change(key="epochs", before="40", after="150")),
        requester=ANNA,
        channel=None,
        thread_of=None,
        created_ts=NOW,
        expires_ts=NOW + 3600.0,
    )
    for name, votes, on_call, allowed in (
        ("change asked", (), (ANNA, BEN), False),
        ("change asked by one who may decide", (), (ANNA, BEN), True),
        ("change asked by one alone", (), (ANNA,), False),
        ("change with a yes", (BEN,), (ANNA, BEN), False),
    ):
        shown = change_messages.card(replace(asked, votes=votes), on_call, allow_self_approval=allowed)
        yield Kind(name=name, message=shown, run=view.name)
    ends = {
        ChangeEnd.APPROVED: "Approved by Ben.",
        ChangeEnd.REJECTED: "Rejected by Ben. Reason: too late.",
        ChangeEnd.EXPIRED: "Nobody decided.",
        ChangeEnd.VOID: "A newer question replaced it.",
    }
    for end, how in ends.items():
        yield Kind(name=f"change that {end}", message=change_messages.closed(asked, end, how), run=view.name)


def _of_all_runs(view: RunView) -> Iterator[Kind]:
    digest = compose_digest([view], {view.run: (3, 1)}, START_TS, NOW)
    assert digest is not None
    yield Kind(name="digest", message=digest)
    yield Kind(name="absence", message=compose_absence([view], START_TS, NOW))


def _trouble(run: str, check: CheckName, title: str) -> Alert:
    critical, holds = Severity.CRITICAL, Nature.CONDITION
    return _alert(Finding(run=run, check=check, key="it", severity=critical, nature=holds, ts=NOW, title=title))


def _of_many_runs(view: RunView) -> Iterator[Kind]:
    """What died together, told in one message."""
    found = [
        _trouble(f"r{number}", CheckName.PROCESS_DIED, f"{view.name}-{number}: the training process died")
        for number in range(20)
    ]
    group = Group(leader=found[0], members=tuple(found[1:]))
    yield Kind(name="group", message=compose_group(group, mentions=(ANNA, BEN), silence_s=7200.0))
    for number, page in enumerate(compose_pages(group)):
        yield Kind(name=f"group, page {number}", message=page)


def _of_the_bot() -> Iterator[Kind]:
    """Of its own troubles, and of a first try."""
    fault = _trouble(DATABASE_RUN, CheckName.DATABASE, "Trainmaster can't write its database")
    yield Kind(name="own trouble", message=compose_alert(fault, silence_s=7200.0))
    yield Kind(name="test alert", message=test_alert.firing(NOW, (ANNA,)))
    yield Kind(name="test alert resolved", message=test_alert.resolved(NOW, NOW + 5))


def _of_lists(view: RunView) -> Iterator[Kind]:
    """What operations list, and what stands against a start."""
    kept = ArchiveFact(
        name="rollback-20261129-010203",
        folder="/data/runs/archive/night/rollback-20261129-010203",
        state="archived",
        ts=NOW,
        after_epoch=3,
        attempt=1,
        num_files=12,
        size_bytes=2**30,
    )
    yield Kind(name="archives", message=listings.archives(view.name, [kept]), run=view.name)
    yield Kind(name="no archives", message=listings.archives(view.name, []), run=view.name)
    shown = listings.checkpoints(view, saved(), [1, 2, 3], told_by="judged by the trainer")
    yield Kind(name="checkpoints", message=shown, run=view.name)
    against = GateFact(check=GateCheck.DISK, outcome=GateOutcome.FAIL, text="0.2 GiB are free, a save needs 1.4 GiB")
    held = "GPU 0 is held by what the run itself left over (process 7; to end it: kill 7)"
    user = GateFact(check=GateCheck.GPU_USERS, outcome=GateOutcome.FAIL, text=held)
    yield Kind(name="gate", message=gate_message(view, [against, user]), run=view.name)


async def answers(folder: Path, name: str = "night", *, epochs: int = 40, run: WrittenRun | None = None) -> list[Kind]:
    """What the commands that only tell answer, and the Home of the app."""
    view = _view(run or written(folder, name, epochs=epochs))
    world = CommandWorld(runs=FakeRuns([view]), alerts=FakeAlerts(_alerts(view)), clock=SetClock(NOW))
    told = []
    epochs_of = [f"epoch {number} progress" for number in (3, 4) if (1, number) in view.epochs]
    for words in (*epochs_of, *ANSWERED):
        request = Request(origin=Origin.SLASH, user=ANNA, channel="C0TRAIN", text=words)
        reply = await dispatch(request, world.context, COMMANDS)
        about = view.name if words.startswith(("status", "epoch", "offenders")) else ""
        told.append(Kind(name=words, message=reply.message, run=about))
    for number, part in enumerate(await home(ANNA, world.context)):
        told.append(Kind(name=f"home, part {number}", message=part))
    return told


ANSWERED = ("status", "epoch progress", "offenders", "alerts", "runs", "help")
