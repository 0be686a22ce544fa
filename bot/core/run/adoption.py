"""A run that something else started: what a person told of it. What was not told and can't be seen is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trainmaster.bot.core.run.facts import ProcessIdentity, Relaunch


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedAttempt:
    """One attempt of an adopted run: the first as it was found, later ones as this bot started them.

    ``from_epoch`` (from 1) is the first that it trains; None for the first attempt.
    """

    log: Path
    process: ProcessIdentity | None
    from_epoch: int | None = None
    stopped: bool = False
    """Whether this bot ended it on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """``log`` is the console log; ``directory`` Ultralytics' ``save_dir``; ``process`` is None when no pid was told.
    Both are of the first attempt; ``later`` are those that followed, in order."""

    name: str
    directory: Path
    log: Path
    process: ProcessIdentity | None
    adopted_ts: float
    relaunch: Relaunch | None = None
    stopped: bool = False
    """Whether this bot ended the first attempt on purpose."""
    later: tuple[AdoptedAttempt, ...] = ()

    @property
    def attempts(self) -> tuple[AdoptedAttempt, ...]:
        """All of them, in order."""
        return (AdoptedAttempt(log=self.log, process=self.process, stopped=self.stopped), *self.later)

    def with_attempt(self, attempt: AdoptedAttempt) -> Adoption:
        """As it is once ``attempt`` has begun; the same when it is the newest already."""
        return self if attempt.process == self.attempts[-1].process else replace(self, later=(*self.later, attempt))

    def with_end(self) -> Adoption:
        """As it is once its newest attempt was ended on purpose."""
        if not self.later:
            return replace(self, stopped=True)
        return replace(self, later=(*self.later[:-1], replace(self.later[-1], stopped=True)))

    def log_of_next(self) -> Path:
        """Where the next attempt's console output goes: beside the first log, with the number of the attempt."""
        number = len(self.attempts) + 1
        return self.log.with_name(f"{self.log.stem}.attempt{number}{self.log.suffix}")

    def to_json(self) -> dict[str, Any]:
        """What :meth:`from_json` reads back, as plain JSON."""
        return {
            "v": 1,
            "name": self.name,
            "directory": str(self.directory),
            "log": str(self.log),
            "process": asdict(self.process) if self.process else None,
            "adopted_ts": self.adopted_ts,
            "relaunch": asdict(replace(self.relaunch, log="")) if self.relaunch else None,
            "stopped": self.stopped,
            "later": [{**asdict(one), "log": str(one.log)} for one in self.later],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Adoption | None:
        """What :meth:`to_json` wrote, now or before there was ``relaunch``; None for anything else."""
        try:
            return cls(
                name=str(record["name"]),
                directory=Path(record["directory"]),
                log=Path(record["log"]),
                process=_process(record["process"]),
                adopted_ts=float(record["adopted_ts"]),
                relaunch=_relaunch(record.get("relaunch")),
                stopped=record.get("stopped") is True,
                later=tuple(
                    AdoptedAttempt(
                        log=Path(one["log"]),
                        process=_process(one["process"]),
                        from_epoch=one.get("from_epoch"),
                        stopped=one.get("stopped") is True,
                    )
                    for one in record.get("later") or ()
                ),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


def _process(record: Mapping[str, Any] | None) -> ProcessIdentity | None:
    return ProcessIdentity(**record) if record else None


def _relaunch(record: Mapping[str, Any] | None) -> Relaunch | None:
    if not record:
        return None
    env = tuple((str(name), str(value)) for name, value in record["env"])
    return Relaunch(argv=tuple(map(str, record["argv"])), cwd=str(record["cwd"]), env=env)
