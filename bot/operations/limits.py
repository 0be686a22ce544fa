"""How long things may take, how many must agree, and how often people are asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

from trainmaster.bot.core.decisions.going_on import AutoResume
from trainmaster.bot.core.run.storm import StormLimits
from trainmaster.bot.core.setting import Setting

RENEW_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GoingOnLimits:
    """What becomes of a run that died. The rules are in docs/going-on.md; how often and why not, in
    ``bot/core/decisions/going_on.py``."""

    auto_resume: Annotated[AutoResume, Setting("ask, auto or off")] = AutoResume.ASK
    """After a death that has nothing to do with the run (killed, host out of memory, GPU driver, preempted, node lost,
    power): ask brings the alert with a Resume button, auto resumes by itself and asks only after three vain starts."""
    pause_s: Annotated[float, Setting("s", ge=0, le=3600, name="auto_resume_pause_s")] = 5.0
    """Before the first resume by itself; the second and third for the same cause wait 6 and 36 times as long: what
    ended the run may still be there."""
    stop_hangs: Annotated[bool, Setting("true or false", name="auto_resume_hangs")] = False
    """Under auto, whether a run that hangs is stopped (asked to save first) and resumed by the same rules. Off, because
    only a person can tell a hang from a disk that is slow tonight."""
    disk_wait_s: float = 3600.0
    """For space on a disk that was full when the run died: somebody is making room, or nobody will. After a power cut
    for the disks, file servers and cards that the host does not have again yet."""
    settle_s: float = 30.0
    """For what stands against a start and may go by itself: a driver that clears away what a killed trainer held on its
    card, workers that notice that they are orphans (torch's look each 5 s), a probe that had no answer once."""
    max_age_s: float = 86_400.0
    """Since the last sign of life. What died longer ago, unseen, has been decided by a person, with or without this
    bot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLimits:
    """How stops and rollbacks are decided, and how long they may take. The defaults are for runs whose batch takes
    seconds and whose epoch takes hours."""

    approvals_required: Annotated[int, Setting("people", ge=1, le=10)] = 1
    """On call, who must say yes: one is enough at 3 a.m.; raise it when a rollback costs days."""
    allow_self_approval: Annotated[bool, Setting("true or false")] = False
    """Whether who asks may also approve: an approval is a second pair of eyes. Set it when one person is on call
    alone."""
    approval_ttl_s: Annotated[float, Setting("s", ge=30, le=604_800)] = 3600.0
    """A plan is about the run as it was; an older question is better asked anew."""
    reminder_s: Annotated[float, Setting("s", ge=30, le=86_400, name="approval_reminder_s")] = 900.0
    """Between reminders to the people on call while a question waits."""
    max_reminders: int = 2
    """In the thread; the one after them goes to the channel, and then it is quiet until the question expires."""
    escalate_to: tuple[str, ...] = ()
    """People and groups that the last reminder mentions beside the people on call."""
    question_renew_s: float = RENEW_S
    """A question that waits is put for the run as it is after each epoch, at most so often: a plan costs seconds, and
    an edit calls nobody."""
    propose_on_storm: Annotated[bool, Setting("true or false")] = True
    """Whether the bot asks for a rollback by itself when a run is past saving."""
    storm_ttl_s: Annotated[float, Setting("s", ge=30, le=604_800, name="storm_approval_ttl_s")] = 43_200.0
    """A question that the bot asked by itself waits through the night: nobody would ask it again. What has changed
    meanwhile is found when somebody approves."""
    storm: StormLimits = field(default_factory=StormLimits)
    """What is past saving."""
    going_on: GoingOnLimits = field(default_factory=GoingOnLimits)
    """What becomes of a run that died."""
    gate_timeout_s: float = 7200.0
    """Before a start: the pause, and what the gate waits for."""

    stop_grace_s: Annotated[float, Setting("s", ge=1)] = 60.0
    """From SIGTERM until the process is killed, at least: a batch ends and a full state is saved (0.7 GB takes
    seconds)."""
    stop_grace_max_s: Annotated[float, Setting("s", ge=1)] = 600.0
    """And at most, however slow the measured batches are."""
    stop_grace_batches: float = 3.0
    """Batches, by their measured time, that the trainer may need before it notices."""
    stop_grace_saves: float = 2.0
    """Saves, by the longest one measured, that may be under way or come."""
    group_grace_s: float = 5.0
    """From SIGTERM to the group until SIGKILL."""
    kill_wait_s: float = 10.0
    """Until a killed process must be gone; longer means that the kernel holds it (a dead network disk)."""

    verify_timeout_s: float = 900.0
    """A checkpoint of some GB is read and hashed twice, on a network disk."""
    archive_timeout_s: float = 1800.0
    """Files are moved aside; across file systems they are copied."""
    restore_timeout_s: float = 1800.0
    """A checkpoint and its full state are copied and compared."""
    restart_timeout_s: float = 900.0
    """From launch to the new attempt in run.json: imports and a model build, on a host that may be swapping."""
    first_batch_timeout_s: float = 3600.0
    """From the new attempt to its first batch: reading a data set of 100,000 images without a cache takes this long."""
    batch_timeout_s: float = 900.0
    """Without progress once batches run."""
    confirm_batches: int = 10
    """Batches of the new attempt that must be done, the last ones healthy, before it counts as training again."""
    forward_attempts: int = 2
    """Tries of a step past the point of no return before a person is called."""

    retry_pause_s: float = 5.0
    """Between these tries: a network disk that hiccups needs a moment."""

    min_free_bytes: int = 512 * 2**20
    """Free space asked for, besides three times the checkpoint, before a rollback touches anything."""
    gpu_look_s: float = 2.0
    """For one look at who holds a GPU; a driver that hangs longer tells nothing, and a stop must not wait
    for it."""
    poll_s: float = 0.1
    """Between looks at the process and the heartbeat while something is awaited."""
