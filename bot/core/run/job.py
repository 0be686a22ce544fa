"""A job of a cluster: what names it, and what its scheduler says of it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from trainmaster.bot.core.conversation.tokens import moment


@dataclass(frozen=True, slots=True, kw_only=True)
class JobIdentity:
    """One start of one job. The number alone will not do: a scheduler that lost its database counts from 1 again.

    ``restart`` counts how often the job was queued again before this start. ``submit_ts`` is known to who submitted it,
    ``started_ts`` to the trainer that it started; ``name`` where Trainmaster chose it.
    """

    id: str
    cluster: str | None = None
    restart: int = 0
    submit_ts: float | None = None
    started_ts: float | None = None
    name: str | None = None

    @property
    def label(self) -> str:
        """As people call it."""
        return f"job {self.id}" + (f" (restart {self.restart})" if self.restart else "")

    @property
    def pids(self) -> frozenset[int]:
        """None: its pids are those of another host, or of a name space of its own, and mean nothing here."""
        return frozenset()

    @property
    def may_come_back(self) -> bool:
        """A controller that was killed right after its end may not know of it, and queues the job again."""
        return True

    def elsewhere(self, host: str | None) -> str | None:
        """None: its cluster reaches it wherever it runs."""
        del host
        return None


class EndCause(StrEnum):
    """Why a job is over, in its scheduler's own word."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    NODE_FAIL = "node_fail"
    OUT_OF_MEMORY = "out_of_memory"
    BOOT_FAIL = "boot_fail"
    DEADLINE = "deadline"

    @property
    def text(self) -> str:
        """The job in words for people."""
        return _CAUSES[self]


_CAUSES = {
    EndCause.COMPLETED: "its job ended by itself",
    EndCause.FAILED: "its job failed",
    EndCause.CANCELLED: "its job was cancelled",
    EndCause.TIMEOUT: "its job reached its time limit",
    EndCause.PREEMPTED: "its job was preempted for another one",
    EndCause.NODE_FAIL: "its node failed",
    EndCause.OUT_OF_MEMORY: "its job used more memory than it asked for",
    EndCause.BOOT_FAIL: "its node did not boot",
    EndCause.DEADLINE: "its job's deadline passed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFact:
    """What the scheduler says of a job, by its own clock."""

    id: str
    cluster: str | None = None
    task: str | None = None
    """Of an array's task: its name in there, "7_3"."""
    state: str = ""
    """In the scheduler's own word, in small letters."""
    reason: str = ""
    """Why it waits, in the scheduler's own word; empty when it does not."""
    restarts: int = 0
    partition: str | None = None
    node: str | None = None
    submit_ts: float | None = None
    start_ts: float | None = None
    """When it started; of a pending job the scheduler's estimate, None where it has none."""
    end_ts: float | None = None
    """When its time limit is up; of a job that is over, when it ended."""
    limit_ts: float | None = None
    """When the time limit of its newest start is or was up; None while it waits, and where nothing limits it."""
    preempt_ts: float | None = None
    """When it was told to make room for another job."""
    cause: EndCause | None = None
    """Why it is over; None while it is not, and where nobody remembers."""

    @property
    def address(self) -> str:
        """What commands are given, and people: the number of an array's last task is that of the whole array too."""
        return self.task or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSilence:
    """Nobody answers for the cluster: since ``since_ts``, when the first question without an answer was asked, and for
    ``for_s`` by a clock that nobody sets. ``said`` is what the last question came to."""

    since_ts: float
    for_s: float
    said: str


HOPELESS_REASONS = frozenset(
    {
        *("PartitionTimeLimit", "PartitionNodeLimit", "PartitionDown", "PartitionInactive", "BadConstraints"),
        *("PartitionConfig", "AssociationTimeLimit", "QOSTimeLimit", "MaxMemPerLimit"),
        *("AccountNotAllowed", "QOSNotAllowed", "InvalidAccount", "InvalidQOS"),
        *(
            "DependencyNeverSatisfied",
            "JobHeldUser",
            "JobHeldAdmin",
            "JobArrayTaskLimitNever",
            "launch failed requeued held",
        ),
        *("JobLaunchFailure", "JobHoldMaxRequeue", "MaxRequeue", "ReservationDeleted", "NodeDown"),
    }
)
"""Reasons that no waiting ends: a person must do something. Source: squeue(1), JOB REASON CODES."""
_ASKS_TOO_MUCH = re.compile(r"(QOS|Assoc)Max\w*Per(Job|JobLimit|Node)|QOSMin\w+")
"""The job by itself asks for more, or less, than its account or quality of service may have: no other job's end
changes that. Of what a user's or an account's jobs have together it does."""


def never_ends(reason: str) -> bool:
    """Whether a job that waits for ``reason`` waits until a person acts. ``reason`` may have commas and brackets:
    "ReqNodeNotAvail, UnavailableNodes:n3"."""
    first = reason.strip("()").split(",")[0].strip()
    beyond = _ASKS_TOO_MUCH.fullmatch(first) is not None
    return beyond or first in HOPELESS_REASONS or "held" in first.lower()  # "job requeued in held state"


def next_start_text(job: JobFact | None, attempt: int) -> str:
    """Which attempt waits in the queue, until when and what for, as a sentence without its full stop."""
    if job is None or job.start_ts is None:
        return f"attempt {attempt} waits: {waiting_text(job)}"
    return f"attempt {attempt} waits until {moment(job.start_ts)}" + (f": {job.reason}" if job.reason else "")


def waiting_text(job: JobFact | None) -> str:
    """Why a job waits and until when, as far as its cluster tells."""
    if job is None:
        return "why is not known"
    why = job.reason or job.state or "no reason given"
    when = f", expected to start {moment(job.start_ts)}" if job.start_ts else ", no start is planned yet"
    return why + when
