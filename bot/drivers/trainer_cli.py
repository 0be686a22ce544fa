"""The trainer's torch-free command line, as :class:`trainmaster.bot.operations.ports.RunFiles`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trainmaster.bot.core.decisions.archive import ArchiveFact
from trainmaster.bot.core.run.facts import CheckpointFact
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.bot.errors import OperationError
from trainmaster.trainer.contract import MODULE_ARGV, ExitCode

_LAST_LINES: Final = 8
_MAX_OUTPUT_BYTES: Final = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    code: int
    out: bytes
    err: bytes

    @property
    def last_lines(self) -> str:
        text = (self.err or self.out).decode(errors="replace").strip()
        return "\n".join(text.splitlines()[-_LAST_LINES:])


class TrainerCli:
    """Runs ``trainmaster ...`` with the run's own Python where that is known, in the folder where it was started.

    ``timeout_s`` is for one command. Reading and hashing a checkpoint of a gigabyte takes seconds, a run of hundreds of
    them on a slow network disk minutes.
    """

    def __init__(self, *, timeout_s: float = 900.0) -> None:
        self._timeout_s = timeout_s

    async def catalog(self, view: RunView) -> tuple[CheckpointFact, ...]:
        """Every saved checkpoint, judged."""
        answer = await self._run(view, "catalog", str(view.directory), "--json")
        rows = _parsed(answer, "catalog")
        if isinstance(rows, dict):
            rows = rows.get("checkpoints")
        if not isinstance(rows, list):
            raise _odd(answer, "catalog")
        facts = [CheckpointFact.parse(row) for row in rows if isinstance(row, dict)]
        return tuple(fact for fact in facts if fact is not None)

    async def verify(self, view: RunView, file: Path) -> CheckpointFact:
        """``file``, read and judged anew; a contaminated one is an answer, not an error."""
        answer = await self._run(view, "verify", str(file), "--json", accept=(ExitCode.FINISHED, ExitCode.REFUSED))
        record = _parsed(answer, "verify")
        fact = CheckpointFact.parse(record) if isinstance(record, dict) else None
        if fact is None:
            raise _odd(answer, "verify")
        return fact

    async def archive(self, view: RunView, *, after_epoch: int) -> Path:
        """What came after the epoch is put aside; returns the archive folder. May be repeated."""
        answer = await self._run(view, "archive", str(view.directory), f"after={after_epoch}", "--json")
        record = _parsed(answer, "archive")
        folder = record.get("folder") if isinstance(record, dict) else None
        if not isinstance(folder, str):
            raise _odd(answer, "archive")
        return Path(folder)

    async def restore(self, view: RunView, *, epoch: int) -> None:
        """The checkpoint of the epoch is the one that a resume takes. May be repeated."""
        await self._run(view, "restore", str(view.directory), f"epoch={epoch}", "--json")

    async def unarchive(self, view: RunView, folder: Path) -> None:
        """What :meth:`archive` put aside is back. May be repeated."""
        await self._run(view, "unarchive", str(view.directory), folder.name, "--json")

    async def archives(self, view: RunView) -> tuple[ArchiveFact, ...]:
        """What rollbacks of the run put aside, oldest first."""
        answer = await self._run(view, "archive", str(view.directory), "--json")
        record = _parsed(answer, "archive")
        rows = record.get("archives") if isinstance(record, dict) else None
        if not isinstance(rows, list):
            raise _odd(answer, "archive")
        facts = [ArchiveFact.parse(row) for row in rows if isinstance(row, dict)]
        return tuple(sorted((fact for fact in facts if fact is not None), key=lambda fact: fact.ts))

    async def _run(self, view: RunView, *words: str, accept: tuple[int, ...] = (ExitCode.FINISHED,)) -> _Answer:
        """Raises:
        OperationError: the run is watched only, or the command could not be started, took too long, or ended with
            another code than one of ``accept``.
        """
        if view.watched_only:
            raise OperationError(
                "watched-only",
                f"run {view.name} is watched only: {view.watched_only}. Its Python is not started.",
                "run the bot as the user that trains; OWNER_CHECK=group trusts a project group",
            )
        python, cwd = _python_and_folder(view)
        argv = (python, *MODULE_ARGV, *words)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env=trainer_environment({}),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=_MAX_OUTPUT_BYTES,
            )
        except OSError as error:
            raise OperationError(
                "trainer-command",
                f"{' '.join(argv[:4])} could not be started in {cwd}: {error}.",
                "check that the Python of the run and its folder are still there",
            ) from error
        try:
            async with asyncio.timeout(self._timeout_s):
                out, err = await process.communicate()
        except TimeoutError as error:
            raise OperationError(
                "trainer-command",
                f"trainer {words[0]} took longer than {self._timeout_s:.0f} s and was ended.",
                "check the disk of the run",
            ) from error
        finally:
            await _end(process)
        answer = _Answer(code=process.returncode or 0, out=out, err=err)
        if answer.code not in accept:
            raise OperationError(
                "trainer-command",
                f"trainer {words[0]} ended with code {answer.code}: {answer.last_lines or 'it said nothing'}",
                f"by hand: cd {cwd} && {' '.join(argv)}",
            )
        return answer


def _python_and_folder(view: RunView) -> tuple[str, str]:
    """The run's own, so that both sides agree on formats; the bot's for a run that something else started, since these
    commands need neither torch nor Ultralytics."""
    record = view.record
    if record is None or not record.python or not record.cwd:
        return sys.executable, str(view.directory)
    return record.python, record.cwd


async def _end(process: asyncio.subprocess.Process) -> None:
    """No process is left, and none of its pipes."""
    if process.returncode is None:
        process.kill()
        await process.communicate()


def _parsed(answer: _Answer, command: str) -> Any:
    """The last line that is JSON: libraries like to print before it."""
    for line in reversed(answer.out.decode(errors="replace").splitlines()):
        try:
            return json.loads(line)
        except ValueError:
            continue
    try:
        return json.loads(answer.out)
    except ValueError as error:
        raise _odd(answer, command) from error


def _odd(answer: _Answer, command: str) -> OperationError:
    return OperationError(
        "trainer-command",
        f"trainer {command} answered something else than expected: {answer.last_lines or 'nothing'}",
        "check that bot and trainer are of the same version",
    )
