"""``trainmaster adopt``: watch a run that something else started, and know how to start it again."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainmaster.bot.cli.arguments import VerbParser
from trainmaster.bot.core.run.adoption import Adoption
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.relaunch import command_of, relaunch_from
from trainmaster.bot.errors import CommandError
from trainmaster.bot.settings.model import load_settings
from trainmaster.bot.storage.adoptions import write_adoption
from trainmaster.terminal import columns, folded
from trainmaster.trainer.contract import is_run_dir
from trainmaster.visible import visible, visible_line

_DESCRIPTION = """\
Watch a training that something else started. What can't be known of it is
shown as unknown.

With --pid and a launch command the bot can also stop the run and, once on-call
approves, take it back to a checkpoint that shows no sign of damage. The command
must go on from a checkpoint: write {last} where the path of last.pt belongs.
That of the `yolo` program is taken from the process by itself.
"""


def main(argv: Sequence[str]) -> int:
    """The run is on record; a running bot takes it up at its next check.

    Raises:
        CommandError: the log, the directory or the process is not there, or the directory is a guarded run.
        SettingsError: STATE_DIR can't be told from the environment and ``.env``.
    """
    parser = VerbParser(prog="trainmaster adopt", description=_DESCRIPTION)
    parser.add_argument("--run-dir", required=True, type=Path, metavar="D", help="Ultralytics' save_dir")
    parser.add_argument("--log", required=True, type=Path, metavar="L", help="its console output, being written")
    parser.add_argument("--pid", type=int, metavar="P", help="its process; without it, its death can't be seen")
    parser.add_argument("--name", metavar="N", help="what to call it (default: the directory's name)")
    parser.add_argument(
        "--launch", metavar="COMMAND", help='how it goes on, for example "python train.py --resume {last}"'
    )
    parser.add_argument("--cwd", type=Path, metavar="D", help="where to start it (default: where the process runs)")
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="for the command; may be repeated"
    )
    given = parser.parse_args(argv)
    settings = load_settings(os.environ, Path(".env"), needs_slack=False)
    wanted = Wanted(launch=given.launch, cwd=given.cwd, env=tuple(given.env))
    adoption = adopt(given.run_dir, given.log, given.pid, given.name, state_dir=settings.state_dir, wanted=wanted)
    name = visible_line(adoption.name)
    _say(f"Adopted {name}. The bot takes it up at its next check: /train status of {name}")
    if adoption.process is not None:
        command = command_of(adoption.process) or "a command that the system does not show"
        _say(visible(f"Its {adoption.process.label} is: {command}"))
    if adoption.relaunch is not None:
        how = adoption.relaunch
        _say(f"It can be stopped and rolled back. It goes on with, in {visible(how.cwd)}:")
        print(visible(f"  {shlex.join(how.argv)}"))
    else:
        _say("How it is started again is not known: a rollback will only print the commands. See --launch.")
    return 0


def _say(sentence: str) -> None:
    print(folded(sentence, columns(), indent="  "))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line says about starting the run again; all of it may be left out."""

    launch: str | None = None
    cwd: Path | None = None
    env: tuple[str, ...] = ()


def adopt(
    directory: Path,
    log: Path,
    pid: int | None,
    name: str | None,
    *,
    state_dir: Path,
    wanted: Wanted = Wanted(),
) -> Adoption:
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
        raise CommandError(
            "adopt-name", f"{called!r} can't be a name.", "give --name with up to 64 letters, digits, '.', '-', '_'"
        )
    adoption = Adoption(
        name=called,
        directory=directory.resolve(),
        log=log.resolve(),
        process=process,
        adopted_ts=time.time(),
        relaunch=relaunch_from(directory.resolve(), process, wanted.launch, wanted.cwd, wanted.env),
    )
    write_adoption(adoption, state_dir)
    return adoption
