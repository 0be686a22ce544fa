"""``python -m bot adopt``: watch a run that something else started."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from bot.core.adoption import Adoption
from bot.drivers.local import LocalDriver
from bot.errors import CommandError
from bot.settings import load_settings
from trainer.contract import is_run_dir, read_json, replace_json

ADOPTIONS_DIR_NAME = "adopted"


def main(argv: Sequence[str]) -> int:
    """The run is on record; a running bot takes it up at its next check.

    Raises:
        CommandError: the log, the directory or the process is not there, or the directory is a guarded run.
        SettingsError: STATE_DIR can't be told from the environment and ``.env``.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bot adopt",
        description="Watch a training that something else started. What can't be known of it is shown as unknown.",
    )
    parser.add_argument("--run-dir", required=True, type=Path, metavar="D", help="Ultralytics' save_dir")
    parser.add_argument("--log", required=True, type=Path, metavar="L", help="its console output, being written")
    parser.add_argument("--pid", type=int, metavar="P", help="its process; without it, its death can't be seen")
    parser.add_argument("--name", metavar="N", help="what to call it (default: the directory's name)")
    given = parser.parse_args(argv)
    settings = load_settings(os.environ, Path(".env"), needs_slack=False)
    adoption = adopt(given.run_dir, given.log, given.pid, given.name, state_dir=settings.state_dir)
    print(f"Adopted {adoption.name}. The bot takes it up at its next check: /train status of {adoption.name}")
    return 0


def adopt(directory: Path, log: Path, pid: int | None, name: str | None, *, state_dir: Path) -> Adoption:
    """The adoption, written under ``state_dir``.

    Raises:
        CommandError: see :func:`main`; nothing was written.
    """
    if not directory.is_dir():
        raise CommandError("adopt-run-dir", f"--run-dir {directory} is not a directory.", "give Ultralytics' save_dir")
    if is_run_dir(directory):
        raise CommandError(
            "adopt-guarded", f"{directory} is a guarded run already.", "put it under RUNS_DIR and it is found by itself"
        )
    if not log.is_file():
        raise CommandError("adopt-log", f"--log {log} is not a file.", "give the file that the console output goes to")
    process = LocalDriver(state_dir / "launches").identify(pid) if pid is not None else None
    if pid is not None and process is None:
        raise CommandError(
            "adopt-pid", f"--pid {pid}: there is no such process on this host.", "see: ps -ef | grep yolo"
        )
    called = name or directory.resolve().name
    if not re.fullmatch(r"[\w.-]{1,64}", called):
        raise CommandError("adopt-name", f"{called!r} can't be a name.", "use up to 64 letters, digits, '.', '-', '_'")
    adoption = Adoption(
        name=called, directory=directory.resolve(), log=log.resolve(), process=process, adopted_ts=time.time()
    )
    folder = state_dir / ADOPTIONS_DIR_NAME
    folder.mkdir(parents=True, exist_ok=True)
    replace_json(folder / f"{called}.json", adoption.to_json(), durable=True)
    return adoption


def find_adoptions(state_dir: Path) -> tuple[Path, ...]:
    """The records of adopted runs."""
    folder = state_dir / ADOPTIONS_DIR_NAME
    return tuple(sorted(path for path in folder.glob("*.json") if not path.name.startswith(".")))


def read_adoption(path: Path) -> Adoption | None:
    """The adoption in ``path``; None when it is damaged."""
    record = read_json(path)
    return Adoption.from_json(record) if record else None
