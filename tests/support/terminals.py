"""A command in a terminal of its own, as wide as a test wants it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What stood on the terminal, control sequences included, and how the command ended."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines, without what was written over."""
        return [line.rpartition("\r\x1b[K")[2] for line in self.text.replace("\r\n", "\n").split("\n")]


class Terminal:
    """A command that believes a person sits before it. ``said`` grows while it runs."""

    def __init__(self, words: Sequence[str], *, columns: int, cwd: Path, env: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._said = bytearray()
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=env, start_new_session=True
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def said(self) -> str:
        """Everything so far."""
        return self._said.decode(errors="replace")

    def end(self, timeout_s: float) -> Shown:
        """The command has ended by itself."""
        try:
            code = self.process.wait(timeout_s)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._reader.join(5.0)
            os.close(self._master)
        return Shown(code=code, text=self.said)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # nobody writes any more
            while chunk := os.read(self._master, 65_536):
                self._said += chunk
