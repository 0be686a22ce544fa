"""The trainer's torch-free command line, as :class:`trainmaster.bot.operations.ports.RunFiles`."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trainmaster.bot.core.conversation.picture import NO_DRAWING, Drawn, Sketch
from trainmaster.bot.core.decisions.archive import ArchiveFact
from trainmaster.bot.core.run.facts import CheckpointFact, CopiesFact
from trainmaster.bot.core.run.ownership import TO_ACT
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.drivers.local.environment import trainer_environment
from trainmaster.bot.errors import OperationError
from trainmaster.trainer.contract import MODULE_ARGV, ExitCode

_LAST_LINES: Final = 8
_MAX_OUTPUT_BYTES: Final = 16 * 2**20
_DRAW_TIMEOUT_S: Final = 60.0
"""A picture takes 2 s, the first one of an installation 15 s more for matplotlib's list of fonts."""
_MAX_PICTURE_BYTES: Final = 4 * 2**20
"""The trainer makes them half as large at most (trainer/pictures/canvas.py)."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_NOT_READY: Final = 1
"""Of ``selfcheck``: it ran, and something failed."""
_ENGINE_TIMEOUT_S: Final = 90.0
"""Loading torch from a slow disk takes half a minute; the part itself is ended after 60 s."""
_READS_ONLY: Final = frozenset({"copy", "plot", "verify"})
_END_S: Final = 1.0
_COPIES_TIMEOUT_S: Final = 30.0
"""Listing a bucket takes a second or two; one that is away is not waited for."""
_NICE: Final = ("-n", "10")


@dataclass(frozen=True, slots=True, kw_only=True)
class _CommandEnd:
    code: int
    out: bytes
    err: bytes

    @property
    def last_lines(self) -> str:
        text = (self.err or self.out).decode(errors="replace").strip()
        return "\n".join(text.splitlines()[-_LAST_LINES:])


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """A row of ``trainmaster selfcheck``: ``status`` is "ok", "FAIL", "i" (worth knowing) or another, undecided."""

    name: str
    status: str
    value: str
    detail: str


class TrainerCli:
    """Runs ``trainmaster ...`` with the run's own Python where that is known, in the folder where it was started.

    ``timeout_s`` is for one command. Reading and hashing a checkpoint of a gigabyte takes seconds, a run of hundreds of
    them on a slow network disk minutes.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 900.0,
        environment: Callable[[Path], Mapping[str, str] | None] = lambda _: None,
    ) -> None:
        """``environment`` is what the run's newest trainer was started with: where its copies are stands there."""
        self._timeout_s = timeout_s
        self._environment = environment

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

    async def engine(self, view: RunView) -> tuple[EngineRow, ...]:
        """What the run's Python says of its Ultralytics, one row a thing looked at."""
        words = ("selfcheck", "parts=engine", "--json")
        answer = await self._run(view, *words, accept=(ExitCode.FINISHED, _NOT_READY), timeout_s=_ENGINE_TIMEOUT_S)
        text = answer.out.decode(errors="replace")
        try:
            rows = json.loads(text[text.index("{") :]).get("rows")
            return tuple(EngineRow(**{key: str(row[key]) for key in EngineRow.__slots__}) for row in rows)
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise _odd(answer, "selfcheck") from error

    async def copies(self, view: RunView) -> CopiesFact:
        """What lies at the run's place of copies; its directory may be gone, and so may the folder that it was started
        in."""
        words = ("copy", str(view.directory), "--list", "--json")
        argv = view.record.argv if view.record is not None else ()
        own = tuple(f"to={word.partition('=')[2]}" for word in argv if word.startswith("copy_to="))[-1:]
        launched_with = dict(self._environment(view.directory) or {}) or None  # it knows the place and has the keys
        answer = await self._run(view, *words, *own, timeout_s=_COPIES_TIMEOUT_S, cwd="/", launched_with=launched_with)
        record = _parsed(answer, "copy")
        fact = CopiesFact.parse(record) if isinstance(record, dict) else None
        if fact is None:
            raise _odd(answer, "copy")
        return fact

    async def draw(self, view: RunView, sketch: Sketch) -> tuple[Drawn, ...]:
        """As :class:`trainmaster.bot.alerting.pictures.Drawer` says of it. A sheet that can't be drawn takes no curves
        along."""
        kinds = [
            *([()] if sketch.curves else []),
            *([("--epoch", str(sketch.epoch))] if sketch.epoch is not None else []),
            *([("--incident", sketch.incident)] if sketch.incident is not None else []),
        ]
        tried = await asyncio.gather(*(self._picture(view, kind) for kind in kinds), return_exceptions=True)
        drawn = tuple(one for one in tried if isinstance(one, Drawn))
        faults = [one for one in tried if isinstance(one, BaseException)]
        # Whatever is no fault of the drawing goes on as it is.
        for fault in faults:
            if not isinstance(fault, OperationError) or not drawn:
                raise fault
        return drawn

    async def _picture(self, view: RunView, kind: tuple[str, ...]) -> Drawn:
        with tempfile.TemporaryDirectory(prefix="trainmaster-picture-") as folder:
            file = Path(folder) / "picture.png"
            words = ("plot", str(view.directory), "--out", str(file), *kind, "--json")
            answer = await self._run(view, *words, timeout_s=_DRAW_TIMEOUT_S, gently=True)
            record = _parsed(answer, "plot")
            alt = record.get("alt") if isinstance(record, dict) else None
            if not isinstance(alt, str):
                raise _odd(answer, "plot")
            content = await asyncio.to_thread(_bounded, file)
        if content is None or not content.startswith(_PNG):
            raise _odd(answer, "plot")
        what = "-".join(kind).strip("-").replace("--", "-") or "run"
        return Drawn(name=f"{what}.png", content=content, alt=alt)

    async def _run(
        self,
        view: RunView,
        *words: str,
        accept: tuple[int, ...] = (ExitCode.FINISHED,),
        timeout_s: float | None = None,
        gently: bool = False,
        cwd: str | None = None,
        launched_with: Mapping[str, str] | None = None,
    ) -> _CommandEnd:
        """Raises:
        OperationError: the run is watched only, or the command could not be started, took too long, or ended with
            another code than one of ``accept``.
        """
        if view.watched_only:
            raise OperationError(
                "watched-only",
                f"run {view.name} is watched only: {view.watched_only}. Its Python is not started.",
                "say it to the Trainmaster that acts on them" if view.spare else TO_ACT,
            )
        python, folder = _python_and_folder(view)
        cwd = cwd or folder
        argv = (*(_gently() if gently else ()), python, *MODULE_ARGV, *words)
        timeout_s = timeout_s or self._timeout_s
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env=trainer_environment({}, launched_with),
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
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate()
        except TimeoutError as error:
            raise OperationError(
                "trainer-command",
                f"trainer {words[0]} took longer than {timeout_s:.0f} s and was ended.",
                "check the disk of the run",
            ) from error
        finally:
            await _end(process, reads_only=words[0] in _READS_ONLY)
        answer = _CommandEnd(code=process.returncode or 0, out=out, err=err)
        if answer.code not in accept:
            lacks = gently and b"matplotlib" in answer.err
            raise OperationError(
                NO_DRAWING if lacks else "trainer-command",
                f"trainer {words[0]} ended with code {answer.code}: {answer.last_lines or 'it said nothing'}",
                f"by hand: cd {shlex.quote(cwd)} && {shlex.join(argv)}",
            )
        return answer


def _python_and_folder(view: RunView) -> tuple[str, str]:
    """The run's own, so that both sides agree on formats; the bot's for a run that something else started, since these
    commands need neither torch nor Ultralytics."""
    record = view.record
    if record is None or not record.python or not record.cwd:
        return sys.executable, str(view.directory)
    return record.python, record.cwd


def _gently() -> tuple[str, ...]:
    """Before a command that must not slow a training down."""
    nice = shutil.which("nice")
    return (nice, *_NICE) if nice else ()


def _bounded(file: Path) -> bytes | None:
    """The content of a file of at most :data:`_MAX_PICTURE_BYTES`; None of a larger one or of none."""
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_PICTURE_BYTES + 1)
    except OSError:
        return None
    return content if len(content) <= _MAX_PICTURE_BYTES else None


async def _end(process: asyncio.subprocess.Process, *, reads_only: bool) -> None:
    """No process is left, none that it started, and none of its pipes. One on a dead mount does not end when it is
    killed: where it only reads, nobody waits for that."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S if reads_only else None):
                await process.communicate()


def _parsed(answer: _CommandEnd, command: str) -> Any:
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


def _odd(answer: _CommandEnd, command: str) -> OperationError:
    return OperationError(
        "trainer-command",
        f"trainer {command} answered something else than expected: {answer.last_lines or 'nothing'}",
        "check that bot and trainer are of the same version",
    )
