"""Starting the trainer again: its command, its launch, and whether the newest attempt is what was launched."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping

from trainmaster.bot.core.decisions.going_on import BATCH, ENDED
from trainmaster.bot.core.decisions.operation import LEVEL, SETTINGS, Direction, Operation, Step
from trainmaster.bot.core.decisions.plan import Launch
from trainmaster.bot.core.run.death import DeathCause, DeathClass, class_of, end_of_start
from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.identity import same_start
from trainmaster.bot.core.run.job import waiting_text
from trainmaster.bot.core.run.launch_spec import LaunchSpec
from trainmaster.bot.core.run.parsing import member_of
from trainmaster.bot.core.run.state import node_refused
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import ClusterSilentError, OperationError, TrainmasterError
from trainmaster.bot.operations.operation_context import OperationContext
from trainmaster.bot.operations.start.last_words import is_mute, log_tail
from trainmaster.trainer.contract import MODULE_ARGV, RUN_VARIABLE, ExitCode

LOST = "lost"
"""The note how often a lost job was submitted once more."""
_FAILED, DIED = "restart-failed", "restart-died"
"""A start that ended before it signed in, and one that did so before it was confirmed."""
_EXIT_TEXT: Mapping[int, str] = {
    ExitCode.BAD_ARGUMENTS: "it was given arguments that it does not accept",
    ExitCode.GAVE_UP: "it gave up: too many bad batches, or weights that no step made",
    ExitCode.REFUSED: "it refuses: the checkpoint is not clean",
}


def resume_argv(operation: Operation) -> tuple[str, ...]:
    """The command that goes on from the plan's checkpoint, or from where the run stopped."""
    if operation.launch is not None and not operation.launch.guarded:
        return operation.launch.argv  # it goes on from last.pt, and there is no level that it could be given
    python = operation.launch.python if operation.launch else "python"
    base = (python, *MODULE_ARGV, "resume", str(operation.directory), *again_word(operation.launch))
    if operation.plan is not None:
        return (*base, f"from={operation.plan.target.epoch}", f"level={operation.plan.level_after}")
    told = (("level", operation.note(LEVEL)), ("batch", operation.note(BATCH)))
    settings = (operation.note(SETTINGS) or "").split()
    return (*base, *(f"{name}={value}" for name, value in told if value), *settings)


def again_word(launch: Launch | None) -> tuple[str, ...]:
    """What a job is given beside its command: a cluster may start it again at any time."""
    return ("again=auto",) if launch is not None and launch.options is not None else ()


def by_hand(how: Launch, argv: tuple[str, ...]) -> str:
    """The start ``argv`` as a person types it in the folder of the run; of a job, what submits it again."""
    trainer = (how.python, *MODULE_ARGV)
    return shlex.join(argv if how.options is None else (*trainer, "sbatch", *how.options, "--", *argv[len(trainer) :]))


def died_again(operation: Operation, error: TrainmasterError) -> bool:
    """Whether the start ended as the attempt before it did, or in another way that has its own alert; what ended it is
    judged as any death is. Not so where it left no attempt and was no accident: nobody else would tell of that."""
    ended = member_of(DeathCause, operation.note(ENDED))
    if error.slug in {_FAILED, DIED} and ended is not None:
        return class_of(ended) is DeathClass.TRANSIENT
    return error.slug == DIED


async def probe_restarted(context: OperationContext) -> str | None:
    """Said when the new attempt has signed in."""
    view = await context.view()
    if not await is_ours(context, view):
        return None
    return _signed_in(context, view)


async def restart(context: OperationContext) -> str:
    """The trainer was started once, however often this is repeated, and its attempt stands in ``run.json``."""
    return await launch(context, key=context.operation.id, argv=resume_argv(context.operation))


async def launch(context: OperationContext, *, key: str, argv: tuple[str, ...]) -> str:
    """A new attempt has signed in, or waits in the queue of a cluster.

    Raises:
        OperationError: it ended before that; says with which code, and its last lines.
        DriverError: it could not be started.
    """
    how = context.operation.launch
    if how is None:
        raise OperationError("run-unguarded", "it is not known how this run is started.", "start it by hand")
    process = await launch_once(context, how, key, argv)
    if not how.guarded and isinstance(process, ProcessIdentity):  # it signs in nowhere by itself
        plan = context.operation.plan
        undoing = context.operation.direction is Direction.UNDO
        from_epoch = plan.target.epoch + 1 if plan is not None and not undoing else None
        context.world.attempts.begin(context.operation.name, process, how.log, from_epoch)
    while True:
        # The process first: one that ended after writing its record is judged by the record.
        fact = await context.world.inspect(process)
        view = await context.view()
        if await is_ours(context, view):
            return _signed_in(context, view)
        if fact.status is ProcessStatus.PENDING:
            return f"{process.label} is in the queue: {waiting_text(fact.job)}"
        if fact.job is not None and not fact.over:  # whether its trainer signs in is seen to by the next step
            return f"{process.label} runs on {fact.job.node}, and its trainer has not signed in yet"
        if fact.over:
            refused = node_refused(fact) and is_mute_so_far(context)
            context.note(ENDED, DeathCause.NODE_REFUSED if refused else end_of_start(fact))
            raise OperationError(
                _FAILED,
                f"the trainer ended before it began to train: {end_text(fact)}.{log_tail(how.log)}",
                f"by hand: cd {shlex.quote(str(how.cwd))} && {by_hand(how, argv)}",
            )
        await context.breathe()


async def launch_once(context: OperationContext, how: Launch, key: str, argv: tuple[str, ...]) -> Identity:
    """It was launched; a cluster that gives no answer is asked until it does, since it may have taken the job."""
    spec = LaunchSpec(
        key=key,
        argv=argv,
        cwd=how.cwd,
        log=how.log,
        env={**dict(how.env), RUN_VARIABLE: str(context.operation.directory)},
        run=context.operation.run,
        options=how.options,
        margin_s=how.margin_s,
    )
    before = _length_before(context)
    if how.options is not None and context.operation.note(before) is None:
        context.note(before, f"{how.log.stat().st_size if how.log.exists() else 0}")
    while True:
        try:
            launched = await asyncio.to_thread(context.world.driver.launch, spec)
            context.note_launched(launched)
            return launched
        except ClusterSilentError as error:
            context.wait_for(error.message)
        await context.breathe()


async def find_started(context: OperationContext) -> Identity | None:
    """What this operation has started, also where nobody wrote that down: the bot was killed just behind the launch, or
    the cluster took the job and its answer was lost. A cluster that gives no answer is asked until it does."""
    operation = context.operation
    if context.launched is not None or operation.step is not Step.RESTART:
        return context.launched
    while True:
        try:
            return await asyncio.to_thread(context.world.driver.find, operation.id)
        except ClusterSilentError as error:
            if operation.launch is None or operation.launch.options is None:
                return None  # no job of that cluster
            context.wait_for(f"{error.message} It is asked until it answers.")
        await context.world.pause(context.world.limits.poll_s)


def _length_before(context: OperationContext) -> str:
    """The note how long the log was before the newest job was submitted."""
    return f"log_bytes/{context.operation.note(LOST) or 0}"


async def is_ours(context: OperationContext, view: RunView) -> bool:
    """Whether the newest attempt is the one that this operation started.

    Raises:
        OperationError: somebody else started one meanwhile.
    """
    record = view.record
    launched = context.launched
    signed_in = record.process if record is not None else None
    if launched is not None and signed_in is not None and same_start(signed_in, launched):
        return True  # whatever its number: a run that came back from its copies counts from what those know
    if record is None or record.attempt <= context.operation.attempt:
        return False
    plan = context.operation.plan
    if launched is None and (plan is None or record.from_epoch == plan.target.epoch + 1):
        return True  # ``from_epoch`` is the one that it trains first
    if launched is not None and not (await context.world.inspect(launched)).over:
        return False
    raise OperationError(
        "foreign-attempt",
        f"attempt {record.attempt} of {view.name} was started by somebody else.",
        "decide which one shall go on; nothing more is done from here",
    )


def _signed_in(context: OperationContext, view: RunView) -> str:
    record = view.record
    assert record is not None
    level = f", level {record.level}" if record.level else ""
    if record.process is not None and context.launched is None:
        context.note_launched(record.process)
    return f"attempt {record.attempt}{level}"


def end_text(fact: ProcessFact) -> str:
    """How a process ended, as a clause."""
    if fact.signal is not None:
        return f"killed by signal {fact.signal}"
    if fact.exit_code is None:
        return "its exit code is not known"
    meaning = _EXIT_TEXT.get(fact.exit_code)
    return f"exit code {fact.exit_code}" + (f", {meaning}" if meaning else "")


def is_mute_so_far(context: OperationContext) -> bool:
    """Whether the newest job has said nothing: its trainer has not run, or not since Slurm ended it."""
    how, before = context.operation.launch, context.operation.note(_length_before(context))
    return how is not None and before is not None and is_mute(how.log, since=int(before))
