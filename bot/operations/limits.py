"""How long things may take, how many must agree, and how often people are asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainmaster.bot.core.run.storm import StormLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationLimits:
    """Defaults are for runs whose batch takes seconds and whose epoch takes hours."""

    approvals_required: int = 1
    """People on call who must say yes."""
    allow_self_approval: bool = False
    """Whether who asks may also approve; off, as a second pair of eyes is what an approval is for."""
    approval_ttl_s: float = 3600.0
    """A question older than this is answered by nobody who still remembers it."""
    reminder_s: float = 900.0
    """Between reminders to the people on call while a question waits."""
    max_reminders: int = 2
    """In the thread; the one after them goes to the channel, and then it is quiet until the question expires."""
    escalate_to: tuple[str, ...] = ()
    """People and groups that the last reminder mentions beside the people on call."""

    propose_on_storm: bool = True
    """Whether the bot asks for a rollback by itself when a run is past saving."""
    storm_ttl_s: float = 43_200.0
    """A question that the bot asked by itself waits through the night: nobody would ask it again. What has changed
    meanwhile is found when somebody approves."""
    storm: StormLimits = field(default_factory=StormLimits)

    stop_grace_s: float = 60.0
    """From SIGTERM to the next step, at least: the batch ends and a full state is saved (0.7 GB takes seconds)."""
    stop_grace_max_s: float = 600.0
    """At most, however slow the batches."""
    stop_grace_batches: float = 3.0
    """Batches, by their measured time, that the trainer may need before it notices."""
    stop_grace_saves: float = 2.0
    """Saves, by the longest one measured, that may be under way or come."""
    group_grace_s: float = 5.0
    """From SIGTERM to the group until SIGKILL."""
    kill_wait_s: float = 10.0
    """Until a killed process must be gone; longer means that the kernel holds it (a dead network disk)."""

    verify_timeout_s: float = 900.0
    archive_timeout_s: float = 1800.0
    restore_timeout_s: float = 1800.0
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
