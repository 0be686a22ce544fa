"""Logs that somebody has compressed: logrotate, a ticket's attachment. Loaded only for a file that begins as one."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

_OPENED_BY: Final[dict[str, Callable[..., Any]]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
MAX_BYTES: Final = 4 * 1024**3
"""A longer log is not unpacked: a small file may say that it is of any length."""
_BLOCK_BYTES: Final = 1024 * 1024


@contextmanager
def unpacked(stream: BinaryIO, kind: str, *, max_bytes: int = MAX_BYTES) -> Iterator[Path]:
    """The log in ``stream``, compressed by ``kind`` ("gzip"), as a file that is gone afterwards. Of one that was cut or
    damaged, what comes before that.

    Raises:
        ValueError: it is compressed in a way that is not known here, or longer than ``max_bytes``.
    """
    if (opened_by := _OPENED_BY.get(kind)) is None:
        raise ValueError(f"it is compressed ({kind}); unpack it first")
    with tempfile.NamedTemporaryFile(prefix="trainmaster-scan-") as plain:
        with opened_by(stream, "rb") as packed:
            _copy(packed, plain, max_bytes)
        plain.flush()
        yield Path(plain.name)


def _copy(packed: IO[bytes], plain: IO[bytes], max_bytes: int) -> None:
    copied = 0
    while copied <= max_bytes:
        try:
            block = packed.read(_BLOCK_BYTES)
        except (EOFError, OSError, zlib.error, lzma.LZMAError):
            return
        if not block:
            return
        plain.write(block)
        copied += len(block)
    raise ValueError(f"it unpacks to more than {max_bytes:,} bytes; give a part of it")
