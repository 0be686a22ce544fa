"""What was read, typed: the records of a run directory and the state of its process.

Parsing is tolerant: a missing or odd key becomes None, never an exception. See :mod:`contract` for units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from trainmaster.bot.core.run.job import JobFact, JobIdentity
from trainmaster.bot.core.run.parsing import (
    member_of,
    number_of,
    numbers_of,
    text_of,
    texts_of,
    time_of,
    values_of,
    whole_of,
)
from trainmaster.trainer.contract import EPOCH_FILE, RunFile, Verdict

_DEVICE: Final = re.compile(r"(?:cuda:)?(-?\w+)")
"""In ``0``, ``0,1``, ``[0, 1]``, ``cuda:1``, ``-1`` and ``cpu``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process for good: a pid alone is reused, a pid with its start time on one boot of one host is not."""

    pid: int
    create_time: float | None
    host: str | None
    boot_id: str | None = None

    @property
    def label(self) -> str:
        """As people call it."""
        return f"process {self.pid}"

    @property
    def started_ts(self) -> float | None:
        """When the process began, by its create time."""
        return self.create_time

    @property
    def pids(self) -> frozenset[int]:
        """By which this host knows it."""
        return frozenset({self.pid})

    @property
    def may_come_back(self) -> bool:
        """Never: nobody starts it anew."""
        return False

    def elsewhere(self, host: str | None) -> str | None:
        """The other host that it lives on, as seen from ``host``; None when it can be reached from there."""
        return self.host if host and self.host and self.host != host else None


Identity = ProcessIdentity | JobIdentity
"""What runs a training: a process of some host, or a job of a cluster."""


class ProcessStatus(StrEnum):
    """What is known of a process now."""

    PENDING = "pending"
    """It waits in the queue of a cluster, for its first start or for the next one."""
    ALIVE = "alive"
    SUSPENDED = "suspended"
    """Its cluster has halted it, and goes on with it when it likes."""
    ZOMBIE = "zombie"
    GONE = "gone"
    REPLACED = "replaced"
    """The pid exists but belongs to a process with another start time."""
    UNKNOWN = "unknown"
    """Another host, or the operating system would not say."""


class OomEvidence(StrEnum):
    """What the kernel's counters say of its out-of-memory killer at the time a process died."""

    OWN_GROUP = "own group"
    """It killed in the process's own control group."""
    HOST = "host"
    """It killed something on this host."""
    NONE = "none"
    UNKNOWN = "unknown"
    """The counters can't be read, or nobody looked while the process lived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFact:
    """The process of a run as the driver sees it at ``ts``. Exit code and signal are known to its parent, and of a
    zombie to its own user. ``rss_gib`` of a process that is over is from the last look at it alive."""

    status: ProcessStatus
    ts: float
    exit_code: int | None = None
    signal: int | None = None
    cpu_pct: float | None = None
    rss_gib: float | None = None
    children: int | None = None
    orphans: tuple[int, ...] = ()
    """Pids of what belonged to it and outlived it: data loader workers, ranks."""
    oom: OomEvidence = OomEvidence.UNKNOWN
    detail: str = ""
    job: JobFact | None = None
    """What its cluster says, of a run that is a job."""
    rebooted: bool = False
    """Whether it is over because its host was restarted since."""
    silent: bool = False
    """Whether it is unknown because nobody answered, so that asking again may tell."""

    @property
    def over(self) -> bool:
        """Whether it certainly runs no more, and nobody but a person starts it again."""
        return self.status in {ProcessStatus.GONE, ProcessStatus.REPLACED, ProcessStatus.ZOMBIE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaunch:
    """How a run that something else started goes on from its ``last.pt``, as a person told it."""

    argv: tuple[str, ...]
    cwd: str
    env: tuple[tuple[str, str], ...] = ()
    """Beside the bot's own environment."""
    log: str = ""
    """Where the next attempt's console output goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(RunFile):
    """``run.json``, or what stands in its place for a run that nobody guards."""

    guarded: bool = True
    """Whether the guarded trainer writes this record; else it was put together from a console log."""
    relaunch: Relaunch | None = None
    """Of an unguarded run, where that is known."""
    process_is_older: bool = False
    """Whether the process is that of an attempt before the newest, whose own is not known."""

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> RunRecord | None:
        """None when it names no run."""
        values = values_of(RunFile, record)
        return None if values is None else cls(**values)

    def set_to(self, name: str) -> str | None:
        """What a setting was for the newest attempt, by its record or else its command line; None where neither
        tells."""
        told = (self.recipe or {}).get(name)
        if told is not None:
            return str(told)
        return next((word.partition("=")[2] for word in reversed(self.argv) if word.startswith(f"{name}=")), None)

    @property
    def devices(self) -> tuple[str, ...]:
        """Of the newest attempt, as it was told: ``cpu``, or numbers; empty where it was not."""
        return tuple(_DEVICE.findall(self.set_to("device") or ""))

    @property
    def settings(self) -> dict[str, tuple[str, str]]:
        """Each setting of the layers -> its value and who decided it."""
        return {
            str(row.get("setting", "")): (str(row.get("value", "")), str(row.get("source", ""))) for row in self.layers
        }

    @property
    def node_is_unknown(self) -> bool:
        """Whether its job has not begun yet, as far as the record tells: a start writes down its node."""
        return self.job is not None and self.job.node is None

    @property
    def process(self) -> Identity | None:
        """What trains, or trained last: a job where a cluster started it, else a process; None when none is named."""
        if self.job is not None:
            return JobIdentity(
                id=self.job.id,
                cluster=self.job.cluster,
                restart=self.job.restart,
                started_ts=self.started_ts,
                name=f"tm-{self.run}" if self.launch_key else None,
            )
        if self.pid is None or self.pid < 1:  # no process's; the kernel takes -1 for all of them
            return None
        return ProcessIdentity(pid=self.pid, create_time=self.create_time, host=self.host, boot_id=self.boot_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of ``events.jsonl``. ``kind`` may be one that this version does not know; ``data`` keeps every key."""

    ts: float
    run: str
    attempt: int
    seq: int
    kind: str
    data: Mapping[str, Any]

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Event | None:
        """None when it lacks what makes an event."""
        ts, kind, run = time_of(record.get("ts")), text_of(record.get("kind")), text_of(record.get("run"))
        if ts is None or kind is None or run is None:
            return None
        return cls(
            ts=ts,
            run=run,
            attempt=whole_of(record.get("attempt")) or 1,
            seq=whole_of(record.get("seq")) or 0,
            kind=kind,
            data=record,
        )

    def text(self, key: str) -> str | None:
        """``key`` if it is text."""
        return text_of(self.data.get(key))

    def integer(self, key: str) -> int | None:
        """``key`` if it is a whole number."""
        return whole_of(self.data.get(key))

    def number(self, key: str) -> float | None:
        """``key`` if it is a number, non-finite ones included."""
        return number_of(self.data.get(key))

    def numbers(self, key: str) -> dict[str, float]:
        """``key`` if it is an object of numbers."""
        return numbers_of(self.data.get(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """``key`` if it is a list, each item as text."""
        return texts_of(self.data.get(key))

    def flag(self, key: str) -> bool:
        """Whether ``key`` is true."""
        return self.data.get(key) is True


@dataclass(frozen=True, slots=True, kw_only=True)
class LogError:
    """A fatal line of the console log, as of ``ts`` when it was read; ``kind`` as ``scan`` names it. ``in_child``: a
    worker or another rank said it. ``digest`` is that of ``detail``. It was written by ``written_ts`` at the latest, by
    the clock of the file system; ``outlived``: training went on after it."""

    ts: float
    kind: str
    detail: str
    text: str
    in_child: bool
    digest: str
    written_ts: float = 0.0
    outlived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiesFact:
    """What lies at a run's place of copies. ``epoch`` and ``ts`` are of the newest file; ``command`` goes on."""

    place: str
    num_files: int
    epoch: int | None
    ts: float | None
    command: str

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> CopiesFact | None:
        """None when it names no place, or no way back."""
        place, command = text_of(record.get("place")), text_of(record.get("command"))
        if place is None or command is None:
            return None
        return cls(
            place=place,
            num_files=whole_of(record.get("files")) or 0,
            epoch=whole_of(record.get("epoch")),
            ts=number_of(record.get("ts")),
            command=command,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFact:
    """A row of the trainer's catalog: one saved file and what is known of it."""

    epoch: int | None
    file: str
    kind: str
    ts: float | None
    sha256: str | None
    size_bytes: int | None
    verdict: Verdict
    reasons: tuple[str, ...]
    fitness: float | None
    resumable: bool

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> CheckpointFact | None:
        """None when it names no file."""
        file = text_of(record.get("file"))
        if file is None:
            return None
        # An event that tells of a full state need not say that it can be resumed. Others in that folder are copies for
        # other tools, and states within an epoch, which a rollback can't go to.
        named = EPOCH_FILE.fullmatch(file)
        in_states = named is not None and named[1] is not None and named[2] is None
        return cls(
            epoch=whole_of(record.get("epoch")),
            file=file,
            kind="state" if in_states else (text_of(record.get("kind")) or ""),
            ts=time_of(record.get("ts")),
            sha256=text_of(record.get("sha256")),
            size_bytes=whole_of(record.get("bytes")),
            verdict=member_of(Verdict, record.get("verdict")) or Verdict.UNKNOWN,
            reasons=texts_of(record.get("reasons")),
            fitness=number_of(record.get("fitness")),
            resumable=record.get("resumable", in_states) is True,
        )
