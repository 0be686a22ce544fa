"""Whole lines of a growing file, each read once."""

from __future__ import annotations

from pathlib import Path

_MAX_READ_BYTES = 8 * 1024 * 1024
"""A look never reads more; the rest comes at the next look."""


class LineTail:
    """Follows ``path`` by device and inode; starts over when the file was replaced or has shrunk.

    A last line without its end is kept back until the end has come. An unchanged file costs one ``stat``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarted = False
        """Whether the last :meth:`read` began the file anew, so that what was read before no longer counts."""
        self._identity: tuple[int, int] | None = None
        self._offset = 0

    def read(self) -> list[bytes]:
        """The lines completed since the last call; none when the file is missing.

        Raises:
            OSError: no permission, a dead mount; nothing is lost, the next call tries again.
        """
        self.restarted = False
        try:
            stat = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return []
        identity = (stat.st_dev, stat.st_ino)
        if self._identity is not None and (identity != self._identity or stat.st_size < self._offset):
            self.restarted = True
            self._offset = 0
        self._identity = identity
        if stat.st_size == self._offset:
            return []
        with self.path.open("rb") as stream:
            stream.seek(self._offset)
            block = stream.read(_MAX_READ_BYTES)
        end = block.rfind(b"\n") + 1
        if end == 0 and len(block) == _MAX_READ_BYTES:
            end = len(block)  # a line longer than a look is damage, not a record: pass it over in pieces
        self._offset += end
        return [line for line in block[:end].split(b"\n") if line.strip()]
