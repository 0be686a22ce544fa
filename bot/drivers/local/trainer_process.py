"""Whether a process is the trainer of a run: a record names a number, and a number alone ends the wrong program.

Evidence is, in this order, an open ``guard/lock`` of the run, the mark that the bot gives what it launches, and the
command line of what trains. A process that shows none of it is left alone.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

import psutil

from trainmaster.bot.core.run.facts import ProcessIdentity, RunRecord
from trainmaster.bot.core.run.view import RunView
from trainmaster.trainer.contract import RUN_VARIABLE, RunLayout

_INTERPRETER: Final = re.compile(r"(?:python|pypy)[0-9.]*[a-z]?")
_MAX_WORDS_SHOWN: Final = 60
_TRAINS: Final = frozenset({"train", "resume"})
"""Verbs of ours that train; the others look at a run or tidy it up."""
_OURS: Final = frozenset({"trainmaster", "trainer", "bot"})
_LOOK_ON: Final = frozenset({"tensorboard", "jupyter", "ipython", "mlflow", "wandb", "fiftyone", "streamlit", "gradio"})
"""Programs that are given a run's folder to show it."""


_FAMILY_AGE_S: Final = 30.0


def own_family() -> frozenset[int]:
    """The bot itself, what started it, and the first process of the host: nothing of it is ever signalled.

    Asked for every run at every look, and looked up twice a minute: who loses a parent is handed to one of the others,
    so what was known a moment ago holds all that is.
    """
    found = frozenset({0, 1, os.getpid()})
    with suppress(psutil.Error):
        return found | _ancestors(os.getpid(), int(time.monotonic() // _FAMILY_AGE_S))
    return found


@lru_cache(maxsize=1)
def _ancestors(pid: int, _half_minute: int) -> frozenset[int]:
    return frozenset(parent.pid for parent in psutil.Process(pid).parents())


class TrainerProcesses:
    """Remembers what it has recognised: a process stays what it is. ``seen`` is told once of every trainer."""

    def __init__(self, *, check_user: bool = True, seen: Callable[[Path, int], None] | None = None) -> None:
        self._check_user = check_user
        self._seen = seen
        self._known: set[tuple[ProcessIdentity, Path]] = set()

    def fault(self, view: RunView) -> str:
        """Why the living process of the run is not the bot's to act on; empty when it is the run's trainer, and when
        there is none."""
        record = view.record
        process = record.process if record else None
        if record is None or not isinstance(process, ProcessIdentity):
            return ""  # a job is its cluster's to tell
        if process.pid in own_family():
            return f"process {process.pid} is the bot's own or one that it runs under, no trainer"
        if (process, view.directory) in self._known:
            return ""
        try:
            why = self._stranger(psutil.Process(process.pid), view.directory, record)
        except psutil.NoSuchProcess:
            return ""  # over since: nothing is there to be signalled
        except (psutil.Error, OSError) as error:
            return f"process {process.pid} can't be looked into ({type(error).__name__})"
        if not why:
            self._known.add((process, view.directory))
            if self._seen is not None:
                self._seen(view.directory, process.pid)
        return why

    def _stranger(self, process: psutil.Process, directory: Path, record: RunRecord) -> str:
        with process.oneshot():
            uid, words = process.uids().effective, process.cmdline()
        if self._check_user and uid != os.geteuid():
            return f"process {process.pid} runs as uid {uid}"
        shown = " ".join(words)[:_MAX_WORDS_SHOWN] or process.name()
        unknown = f"process {process.pid} is no trainer of this run ({shown})"
        if not record.guarded:
            return "" if _is_any_training(process, words, record) else unknown
        locks = _open_locks(process)
        lock = RunLayout(directory.resolve()).lock
        if lock in locks:
            return ""
        if locks:
            return f"process {process.pid} is the trainer of {locks[0].parent.parent}"
        if _marked(process, directory) or _is_as_recorded(words, record):
            return ""
        if _may_train(words) and _names(words, directory, _cwd(process)):
            return ""
        # A parent of several ranks: the first of them holds the lock.
        children = process.children(recursive=True)
        return "" if any(lock in _open_locks(child) for child in children) else unknown


def _open_locks(process: psutil.Process) -> list[Path]:
    """Every ``guard/lock`` that it has open. Source: proc_pid_fd(5)."""
    found = []
    folder = f"/proc/{process.pid}/fd"
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - names only
            with suppress(OSError):
                target = Path(f"{folder}/{name}").readlink()
                if target.parts[-2:] == ("guard", "lock"):
                    found.append(target)
    return found


def _marked(process: psutil.Process, directory: Path) -> bool:
    try:
        return process.environ().get(RUN_VARIABLE) == str(directory)
    except (psutil.Error, OSError):
        return False


def _may_train(words: Sequence[str]) -> bool:
    """Whether the command line is one that trains, of all that may name a run directory: an editor, a viewer, a copy
    and a web server name it too."""
    if not words or not _is_interpreter(words[0]):
        return False
    rest = list(words[1:])
    while rest and rest[0].startswith("-") and rest[0] not in {"-m", "-c"}:
        rest = rest[2:] if rest[0] in {"-X", "-W"} else rest[1:]
    if not rest:
        return False
    is_module = rest[0] == "-m"
    program = rest[1] if is_module and len(rest) > 1 else os.path.basename(rest[0])  # noqa: PTH119 - a word
    name, verb = program.split(".")[0].split("-")[0], next(iter(rest[2 if is_module else 1 :]), "")
    if name in _OURS and (is_module or name == "trainmaster"):
        return verb in _TRAINS
    return name not in _LOOK_ON and not (is_module and name in sys.stdlib_module_names)


def _names(words: Sequence[str], directory: Path, cwd: Path | None) -> bool:
    """Whether the command line names the run directory: alone, as the value of an option, or as project and name."""
    wanted = directory.resolve()
    values = [word.rpartition("=")[2] for word in words]
    given = dict(word.partition("=")[::2] for word in words if "=" in word)
    if "project" in given and "name" in given:
        values.append(f"{given['project']}/{given['name']}")
    return any(_resolved(value, cwd) == wanted for value in values if "/" in value or value == directory.name)


def _resolved(value: str, cwd: Path | None) -> Path | None:
    try:
        return ((cwd or Path("/")) / value).resolve()
    except (OSError, ValueError, RuntimeError):
        return None


def _is_as_recorded(words: Sequence[str], record: RunRecord) -> bool:
    """Whether it runs the script that the record names, with the same arguments, in an interpreter."""
    told = record.argv[1:] if record.argv and _is_interpreter(record.argv[0]) else record.argv
    return bool(told) and _is_interpreter(words[0] if words else "") and tuple(words[-len(told) :]) == tuple(told)


def _is_any_training(process: psutil.Process, words: Sequence[str], record: RunRecord) -> bool:
    """Of a run that a person adopted by pid: an interpreter, or what writes its log."""
    if any(_is_interpreter(word) for word in words[:2]):
        return True
    with suppress(psutil.Error, OSError):
        return any(os.path.realpath(f"/proc/{process.pid}/fd/{number}") == record.log for number in (1, 2))
    return False


def _is_interpreter(word: str) -> bool:
    return _INTERPRETER.fullmatch(os.path.basename(word)) is not None  # noqa: PTH119 - a word, not a path


def _cwd(process: psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except (psutil.Error, OSError):
        return None
