"""Submissions that can be repeated: what was meant to be submitted is on disk before ``sbatch`` is asked."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from trainmaster.bot.errors import DriverError
from trainmaster.trainer.contract import read_json, replace_json

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One submission: ``id`` is None from the moment it was meant until Slurm told the number."""

    key: str
    name: str
    meant_ts: float
    id: str | None = None
    submit_ts: float | None = None


class Submissions:
    """One file a key, in a folder of the bot's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, submission: Submission) -> None:
        """It survives a crash from now on.

        Raises:
            DriverError: it could not be written, so nothing may be submitted.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_json(self._path(submission.key), asdict(submission), durable=True, mode=0o600)
        except OSError as error:
            raise DriverError(
                "launch-failed",
                f"{self._path(submission.key)} cannot be written: {error}.",
                "check space and permissions of STATE_DIR",
            ) from error

    def read(self, key: str) -> Submission | None:
        """What was written last; None when nothing was, or nothing that can be read."""
        try:
            record = read_json(self._path(key))
        except OSError:
            return None
        try:
            return Submission(**record) if record else None
        except TypeError:
            return None

    def forget(self, key: str) -> None:
        """Nothing was submitted under that key, so that nothing is kept of it."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / (_UNSAFE.sub("_", key) + ".job.json")
