"""Processes whose modules load once: a nursery imports what a training needs, and forks whoever is asked for.

What it forks is a process of its own from there on, with the environment, arguments, output and exit code that it
would have had. A start of torch takes seconds, and a test of ranks or of kills has several.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainmaster.loading import loaded, loading

ROOT = Path(__file__).parents[2]
TORCH = ("torch._dynamo", "torch.distributed", "torch.nn.parallel", "torchvision", "cv2", "matplotlib")
"""What a training loads that does not read the rank."""
NUM_RANKS = 2
PR_SET_PDEATHSIG = 1
"""Of Linux' prctl: the signal that a process gets when its parent ends."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended, and what it printed."""

    code: int
    output: str
    errors: str


class Nursery:
    """A process that waits to fork others. It starts anew when a test was broken off."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._preload = preload
        self._process = self._started()

    def run(
        self, code: str, *words: str, folder: Path, environments: Sequence[Mapping[str, str]] = ({},)
    ) -> list[Ended]:
        """As many processes as ``environments`` that ran ``code``, whose ``sys.argv[1:]`` are ``words``, to their end.
        What they print is kept in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        asked = {"code": code, "words": words, "folder": str(folder), "environments": [*map(dict, environments)]}
        try:
            codes = self._answer(json.dumps(asked))
        except BaseException:
            self.end()  # and what it forked: see :func:`_be`
            raise
        return [
            Ended(ended, *((folder / f"{kind}.{number}").read_text(errors="replace") for kind in ("out", "err")))
            for number, ended in enumerate(codes)
        ]

    def two_ranks(self, code: str, *words: str, folder: Path) -> list[Ended]:
        """As :meth:`run`, with what torch's launcher tells each of two ranks."""
        ranks = [
            {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(NUM_RANKS)} for rank in range(NUM_RANKS)
        ]
        return self.run(code, *words, folder=folder, environments=ranks)

    def end(self) -> None:
        """It is gone, with all that it forked."""
        self._process.kill()
        self._process.wait()
        for stream in filter(None, (self._process.stdin, self._process.stdout)):
            with suppress(BrokenPipeError):
                stream.close()

    def _started(self) -> subprocess.Popen[str]:
        path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.forked", *self._preload],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _answer(self, asked: str) -> list[int]:
        if self._process.poll() is not None:
            self._process = self._started()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(asked + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery has ended"
        codes: list[int] = json.loads(answer)
        return codes


@contextmanager
def nursery(*preload: str) -> Iterator[Nursery]:
    """One that imports ``preload``; it ends with the block."""
    made = Nursery(preload)
    try:
        yield made
    finally:
        made.end()


def _be(number: int, asked: dict[str, Any]) -> None:
    """This process is what was asked for, to its end, or to the nursery's."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, kind in ((1, "out"), (2, "err")):
        path = Path(asked["folder"]) / f"{kind}.{number}"
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ.update(asked["environments"][number])
    sys.argv = ["-c", *asked["words"]]
    exit_code = 1
    try:
        exec(compile(asked["code"], "<forked>", "exec"), {"__name__": "__main__"})
        exit_code = 0
    except SystemExit as end:
        exit_code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - as an interpreter would at its end
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def main() -> None:
    """Forks what each line of the standard input asks for, and answers with the exit codes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a module prints as it loads is no answer
    with loading():
        for name in sys.argv[1:]:
            importlib.import_module(name)
        loaded()
    for line in sys.stdin:
        asked = json.loads(line)
        children = []
        for number in range(len(asked["environments"])):
            child = os.fork()
            if child == 0:
                _be(number, asked)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        answers.write(json.dumps(codes) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
