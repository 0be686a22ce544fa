"""An interpreter whose modules are there already: a program that stands for ``python``, and a process that forks what
it is asked for.

What is forked has the arguments, environment, folder, output and exit code that the program was given, and ends with
it. Signals to the program go on to what it stands for. A start of torch takes seconds, and Ultralytics' launcher of
ranks makes four of them a training.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.forked import PR_SET_PDEATHSIG, ROOT, TORCH
from trainmaster.loading import loaded, loading

PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys

forked = None
early = []

def pass_on(number, _frame):
    if forked is None:
        early.append(number)
        return
    try:
        os.kill(forked, number)
    except ProcessLookupError:
        pass

# Before what it stands for can have said anything: whoever hears that may send a signal at once.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, pass_on)
asked = json.dumps([sys.argv, dict(os.environ), os.getcwd()]).encode()
with socket.socket(socket.AF_UNIX) as nursery:
    nursery.connect("\\0{address}")
    socket.send_fds(nursery, [len(asked).to_bytes(8, "big")], [0, 1, 2])
    nursery.sendall(asked)
    answers = nursery.makefile()
    forked = int(answers.readline())
    for number in early:
        pass_on(number, None)
    code = int(answers.readline())
if code < 0:
    if code != -signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""
LOADED = (
    *(*TORCH, "polars", "requests", "psutil", "yaml"),
    *("torch.distributed.run", "torch.distributed.elastic.multiprocessing"),
)
"""What a trainer, or Ultralytics' launcher of ranks, loads that does not read the rank."""
FLAGS = {"-u", "-P", "-I"}
"""Of the interpreter, that mean nothing here."""
_KEPT: list[Any] = []
"""The nursery's own streams: one that nobody holds would close its descriptor."""


@contextmanager
def ready_python(folder: Path, *preload: str) -> Iterator[Path]:
    """The program, in ``folder``. What it starts has imported ``preload`` and ends with the block at the latest."""
    address = f"trainmaster-{uuid.uuid4().hex}"
    program = folder / "python"
    program.write_text(PROGRAM.format(python=sys.executable, address=address))
    program.chmod(0o755)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.ready_python", address, str(program), *preload]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "the nursery has ended"
            yield program
        finally:
            process.kill()


@dataclass
class _Nursery:
    """Forks whoever is asked for, and tells each program how what it stands for has ended."""

    listener: socket.socket
    program: str
    watched: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def serve(self) -> None:
        """To the end of the standard input."""
        self.watched.register(self.listener, selectors.EVENT_READ, self._accept)
        self.watched.register(sys.stdin, selectors.EVENT_READ, lambda: sys.exit(0))
        while True:
            for key, _ in self.watched.select():
                if key.fd in self.watched.get_map():  # not ended by the one before it
                    key.data()

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        streams: list[int] = []
        try:
            size, streams, _, _ = socket.recv_fds(client, 8, 3)
            with client.makefile("rb") as stream:
                argv, environment, folder = json.loads(stream.read(int.from_bytes(size, "big")))
        except (OSError, ValueError):  # the program was killed before it had said what it stands for
            for given in streams:
                os.close(given)
            client.close()
            return
        child = os.fork()
        if child == 0:
            for descriptor, given in enumerate(streams):
                os.dup2(given, descriptor)
            os.closerange(3, max(client.fileno(), *streams) + 1)
            _be(self.program, argv[1:], environment, folder)
        for given in streams:
            os.close(given)
        _tell(client, child)
        ended = os.pidfd_open(child)
        self.watched.register(ended, selectors.EVENT_READ, partial(self._ended, child, ended, client))
        self.watched.register(client, selectors.EVENT_READ, partial(self._killed, child, client))

    def _killed(self, child: int, client: socket.socket) -> None:
        """The program is gone, and takes with it what it stood for."""
        self.watched.unregister(client)
        os.kill(child, signal.SIGKILL)

    def _ended(self, child: int, ended: int, client: socket.socket) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self.watched.unregister(ended)
        os.close(ended)
        if client.fileno() in self.watched.get_map():
            self.watched.unregister(client)
            _tell(client, code)
        client.close()


def _tell(client: socket.socket, number: int) -> None:
    """The program learns ``number``, unless it was killed meanwhile."""
    with suppress(OSError):
        client.sendall(f"{number}\n".encode())


def _be(program: str, words: list[str], environment: dict[str, str], folder: str) -> None:
    """This process is what an interpreter with these words would be."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    _KEPT.extend((sys.stdin, sys.stdout, sys.stderr))
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, closefd=False, errors="backslashreplace")
    sys.executable, sys.orig_argv = program, [program, *words]
    code = 1
    try:
        _run(words)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as an interpreter would at its end
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(words: list[str]) -> None:
    safe = "PYTHONSAFEPATH" in os.environ or "-P" in words[:2]
    path = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:] = [*path, *(one for one in sys.path[1:] if one not in path)]
    sys.modules.pop("sitecustomize", None)
    with suppress(ImportError):
        importlib.import_module("sitecustomize")
    while words[0] in {*FLAGS, "-W"}:
        del words[: 2 if words[0] == "-W" else 1]
    kind, rest = (words[0], words[1:]) if words[0] in {"-m", "-c"} else ("", words)
    how: dict[str, Callable[[str], Any]] = {
        "-m": partial(runpy.run_module, run_name="__main__", alter_sys=True),
        "-c": lambda code: exec(compile(code, "<string>", "exec"), {"__name__": "__main__"}),
        "": partial(runpy.run_path, run_name="__main__"),
    }
    sys.argv = ["-c", *rest[1:]] if kind == "-c" else rest
    if not safe:
        sys.path.insert(0, "" if kind else str(Path(rest[0]).parent))
    how[kind](rest[0])


def main(address: str, program: str, preload: Sequence[str]) -> None:
    """Serves the program until nobody holds the standard input any more."""
    with loading():
        for name in preload:
            importlib.import_module(name)
        loaded()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{address}")
        listener.listen()
        os.write(1, b"\n")
        _Nursery(listener, program).serve()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
