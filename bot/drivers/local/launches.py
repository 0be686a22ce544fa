"""Launches of trainers that can be repeated: a lock file and a record a launch, in a folder of the bot's own."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from trainmaster.bot.core.run.facts import ProcessIdentity
from trainmaster.bot.errors import DriverError
from trainmaster.trainer.contract import read_json, replace_json

KEY_VARIABLE: Final = "TRAINMASTER_LAUNCH_KEY"
"""In the environment of every launched process and so of its children; says which launch they come from."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


class Launches:
    """``<key>.lock`` is locked while a process of that launch lives: the process inherits the descriptor, so the
    lock outlives the bot and ends with the last of them. ``<key>.json`` is the identity of the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, key: str) -> Iterator[int | None]:
        """The lock's descriptor, to be inherited; None when a process of that launch lives.

        Raises:
            DriverError: the folder cannot be written.
        """
        path = self._path(key, ".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DriverError(
                "launch-failed", f"{path} cannot be written: {error}.", "check space and permissions of STATE_DIR"
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield descriptor
        finally:
            # Closing leaves the lock with the child that inherited it; LOCK_UN would take it away from both.
            os.close(descriptor)

    def mark(self, key: str) -> str:
        """What the processes of that launch carry in their environment. Names the folder too: another bot of this host
        may use the same key."""
        return f"{key}@{self._folder.resolve()}"

    def remember(self, key: str, process: ProcessIdentity) -> None:
        """The launch's process is ``process``. A disk that refuses costs only speed: the environment tells as well."""
        try:
            replace_json(self._path(key, ".json"), asdict(process), mode=0o600)
        except OSError:
            return

    def remembered(self, key: str) -> ProcessIdentity | None:
        """The process that :meth:`remember` was told."""
        try:
            record = read_json(self._path(key, ".json"))
        except OSError:
            return None
        try:
            return ProcessIdentity(**record) if record else None
        except TypeError:
            return None

    def key_of(self, process: ProcessIdentity) -> str | None:
        """The launch that started ``process``."""
        for path in sorted(self._folder.glob("*.json")):
            if self.remembered(path.stem) == process:
                return path.stem
        return None

    def _path(self, key: str, suffix: str) -> Path:
        return self._folder / (_UNSAFE.sub("_", key) + suffix)
