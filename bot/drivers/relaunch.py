"""How a run that something else started goes on from its ``last.pt``: told by a person, or taken from its process."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

import psutil

from trainmaster.bot.core.run.facts import ProcessIdentity, Relaunch
from trainmaster.bot.errors import CommandError
from trainmaster.trainer.contract import RunLayout

LAST: Final = "{last}"
"""In a launch command: the path of ``last.pt``."""

_KEPT_NAMES: Final = frozenset(
    {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"}
)
_KEPT_PREFIXES: Final = ("CUDA_", "HIP_", "ROCR_", "HSA_", "NCCL_", "RCCL_", "OMP_", "MKL_", "YOLO_", "PYTORCH_")
"""Of the process's environment: what decides where and on what it runs. The rest may hold secrets, and this is kept on
disk."""

_KEPT_SETTINGS: Final = ("device", "batch", "imgsz", "workers", "cache", "plots", "val")
"""Of ``yolo``'s settings: those that Ultralytics takes on a resume (engine/trainer.py, ``check_resume``); all others
stand in the checkpoint."""

_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)


def relaunch_from(
    directory: Path, process: ProcessIdentity | None, launch: str | None, cwd: Path | None, env: Sequence[str]
) -> Relaunch | None:
    """How the run in ``directory`` goes on; None where that was not told and the process does not show it.

    Raises:
        CommandError: a command was told that cannot be.
    """
    wrong = [one for one in env if not _ASSIGNMENT.fullmatch(one)]
    if wrong:
        raise CommandError(
            "adopt-env", f"--env {wrong[0]!r} is no NAME=VALUE.", "for example --env CUDA_VISIBLE_DEVICES=0"
        )
    if launch is not None and process is None:
        raise CommandError(
            "adopt-launch",
            "--launch needs --pid: a run is only started again after its process was stopped.",
            "add --pid",
        )
    seen = _seen(process) if process is not None else None
    words = _told(launch) if launch is not None else yolo_resume(seen.cmdline if seen else ())
    if not words:
        return None
    place = cwd.resolve() if cwd is not None else (Path(seen.cwd) if seen and seen.cwd else None)
    if place is None or not place.is_dir():
        raise CommandError("adopt-cwd", f"--cwd {place or 'is not known'}: there is no such directory.", "give --cwd")
    last = str(RunLayout(directory).weights / "last.pt")
    given = dict(one.split("=", 1) for one in env)
    return Relaunch(
        argv=tuple(word.replace(LAST, last) for word in words),
        cwd=str(place),
        env=tuple(sorted({**_kept(seen.env if seen else {}), **given}.items())),
    )


def command_of(process: ProcessIdentity) -> str:
    """The command that ``process`` runs, as for a shell; empty where the system hides it."""
    seen = _seen(process)
    return shlex.join(seen.cmdline) if seen else ""


def yolo_resume(cmdline: Sequence[str]) -> tuple[str, ...]:
    """The command that goes on where ``cmdline``, of Ultralytics' ``yolo`` program, was; empty for any other."""
    at = next((n for n, word in enumerate(cmdline[:3]) if PurePath(word).name in {"yolo", "ultralytics"}), None)
    if at is None:
        return ()
    rest = cmdline[at + 1 :]
    plain = [word for word in rest if "=" not in word]
    if "train" not in plain and "mode=train" not in rest:
        return ()
    kept = [word for word in rest if word.partition("=")[0] in _KEPT_SETTINGS and "=" in word]
    task = next((word for word in rest if word.startswith("task=")), "")
    words = [word for word in plain if word != "resume"]
    mode = [] if "train" in plain else ["mode=train"]
    return (*cmdline[: at + 1], *words, *([task] if task else []), *mode, "resume=True", f"model={LAST}", *kept)


class _LivingProcess:
    """What a living process shows of its start; parts that the system hides are empty."""

    def __init__(self, process: psutil.Process) -> None:
        self.cmdline: Sequence[str] = ()
        self.cwd = ""
        self.env: Mapping[str, str] = {}
        try:
            self.cmdline = process.cmdline()
            self.cwd = process.cwd()
            self.env = process.environ()
        except (psutil.Error, OSError):
            return


def _seen(identity: ProcessIdentity) -> _LivingProcess | None:
    try:
        return _LivingProcess(psutil.Process(identity.pid))
    except psutil.Error:
        return None


def _told(launch: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(launch))
    except ValueError as error:
        raise CommandError("adopt-launch", f"--launch can't be read: {error}.", "quote it as for a shell") from error
    resuming = yolo_resume(words)
    if any(LAST in word for word in words):
        return words
    if not resuming:
        raise CommandError(
            "adopt-launch",
            f"--launch {launch[:80]!r} does not say where the checkpoint goes: it would train from the start.",
            f"write {LAST} in its place: python train.py --resume {LAST}",
        )
    return resuming


def _kept(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES)
    }
