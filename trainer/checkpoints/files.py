"""Files that are whole or absent: written beside their place, hashed on the way, renamed into it. Loads no torch."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO, Final

from trainmaster.trainer.contract import fsync_dir

PARTIAL_SUFFIX: Final = ".partial"
"""Ends the name of a file that is being written. One that stays behind belongs to a process that was killed."""

CHUNK_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFile:
    """What was written, byte for byte: hex SHA-256 and size."""

    sha256: str
    bytes: int


class DigestError(Exception):
    """A file does not hold the bytes that it was attested with."""

    def __init__(self, path: Path, *, found: SavedFile, expected: SavedFile) -> None:
        super().__init__(
            f"{path} holds {found.bytes} bytes with SHA-256 {found.sha256[:12]}..., "
            f"attested were {expected.bytes} bytes with {expected.sha256[:12]}..."
        )
        self.path = path
        self.found = found
        self.expected = expected


def require_digest(path: Path, stream: BufferedIOBase, expected_sha256: str) -> None:
    """``stream``, which is of the file at ``path``, holds the bytes with that digest, and stands at their beginning.

    Raises:
        DigestError: it holds others.
    """
    found = SavedFile(sha256=hashlib.file_digest(stream, "sha256").hexdigest(), bytes=stream.tell())
    if found.sha256 != expected_sha256:
        raise DigestError(path, found=found, expected=SavedFile(sha256=expected_sha256, bytes=found.bytes))
    stream.seek(0)


class HashingWriter:
    """A sink that writes to ``stream`` and hashes on the way.

    A write that fails is remembered in ``error`` and everything after it is dropped: the zip writer in torch turns an
    exception from its sink into one of its own that no longer says "no space left". Whoever uses it must look at
    ``error`` before trusting the file.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._num_bytes = 0
        self.error: OSError | None = None

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take all of ``data``; how many bytes that was."""
        view = memoryview(data).cast("B")
        if self.error is None:
            self._hash.update(view)
            self._num_bytes += view.nbytes
            try:
                self._stream.write(view)
            except OSError as error:
                self.error = error
        return view.nbytes

    def flush(self) -> None:
        """Nothing: the owner of the stream flushes it."""

    def write_all(self, read: Callable[[int], bytes]) -> None:
        """Take all that ``read`` gives, as much at a time as it is asked for.

        Raises:
            OSError: a write failed, as does what is read from.
        """
        while chunk := read(CHUNK_BYTES):
            self.write(chunk)
            if self.error is not None:
                raise self.error

    @property
    def saved(self) -> SavedFile:
        """What has been written so far."""
        return SavedFile(sha256=self._hash.hexdigest(), bytes=self._num_bytes)


Announce = Callable[[SavedFile, Path], None]
"""Told what a file is about to hold, and where that lies until it does."""


@contextmanager
def replacing(path: Path, *, durable: bool = True, announce: Announce | None = None) -> Iterator[HashingWriter]:
    """On a clean exit ``path`` holds what was written; on any failure it holds what it held, and no temporary stays.

    ``durable`` also survives a power cut (fsync of file and folder). ``announce`` is called when everything is written
    and nothing replaced yet: a kill then leaves a row too many in the ledger, never a file without its row.

    Raises:
        OSError: no space, no permission.
    """
    descriptor, temporary = _begun_beside(path)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as raw:
            writer = HashingWriter(_WholeWrites(raw))  # type: ignore[arg-type]  # has the one method that is used
            yield writer
            if writer.error is not None:
                raise writer.error
            if durable:
                os.fsync(raw.fileno())
        temporary.chmod(0o644)
        if announce is not None:
            announce(writer.saved, temporary)
        temporary.replace(path)
    except BaseException:
        _given_up(temporary)
        raise
    if durable:
        fsync_dir(path.parent)


@contextmanager
def written_beside(path: Path, *, announce: Announce | None) -> Iterator[Path]:
    """As :func:`replacing`, durably, for who writes to a file by its name: within, that name is another. A file that
    stays empty replaces nothing.

    Raises:
        OSError: no space, no permission.
    """
    descriptor, temporary = _begun_beside(path)
    os.close(descriptor)
    try:
        yield temporary
        if temporary.stat().st_size:
            with temporary.open("rb+") as raw:
                os.fsync(raw.fileno())
            temporary.chmod(0o644)
            if announce is not None:
                announce(digest_of(temporary), temporary)
            temporary.replace(path)
            fsync_dir(path.parent)
    finally:
        _given_up(temporary)


def _begun_beside(path: Path) -> tuple[int, Path]:
    """A new, empty file beside ``path``, open for writing, that is swept if a kill leaves it there."""
    import tempfile  # noqa: PLC0415 - a reader does without it and what it loads, 6 ms of each start

    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL_SUFFIX)
    return descriptor, Path(name)


def _given_up(temporary: Path) -> None:
    """``temporary`` is gone, if the disk takes that: what went wrong with it counts, not this."""
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


class _WholeWrites:
    """An unbuffered file whose ``write`` takes everything or raises; the kernel may take a part of a large write."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def write(self, view: memoryview) -> int:
        written = 0
        while written < view.nbytes:
            taken = self._raw.write(view[written:])
            if not taken:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._raw.name))
            written += taken
        return written


def write_atomically(path: Path, content: bytes | memoryview, *, announce: Announce | None = None) -> SavedFile:
    """``path`` holds ``content``, or on OSError what it held before."""
    with replacing(path, announce=announce) as writer:
        writer.write(content)
    return writer.saved


def sweep_partials(*folders: Path) -> list[Path]:
    """What killed processes left half-written in ``folders`` is gone. Only while nobody can be writing there."""
    partials = sorted(path for folder in folders for path in folder.glob(f".*{PARTIAL_SUFFIX}"))
    for path in partials:
        path.unlink(missing_ok=True)
    return partials


def digest_of(path: Path) -> SavedFile:
    """SHA-256 and size of the bytes in ``path`` now."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return SavedFile(sha256=digest.hexdigest(), bytes=stream.tell())


def holds(path: Path, saved: SavedFile) -> bool:
    """Whether ``path`` is a file of just those bytes."""
    return path.is_file() and path.stat().st_size == saved.bytes and digest_of(path) == saved


def copy_verified(source: Path, target: Path, *, expected: SavedFile | None = None) -> SavedFile:
    """``target`` is a whole copy of ``source`` with its time stamps; what it held before is replaced only by such.

    Copies, never links: Ultralytics' ``strip_optimizer`` opens ``last.pt`` and ``best.pt`` for writing in place when a
    run ends (utils/torch_utils.py), and would write through a hard link into the copy that was meant to last.

    Raises:
        DigestError: ``source`` does not hold ``expected``; ``target`` is untouched.
        OSError: no space, no permission, no such file.
    """
    with source.open("rb", buffering=0) as stream, replacing(target) as writer:
        writer.write_all(stream.read)
        status = os.fstat(stream.fileno())
        if expected is not None and writer.saved != expected:
            raise DigestError(source, found=writer.saved, expected=expected)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    return writer.saved


class AttestedPath(type(Path())):  # type: ignore[misc]  # the concrete class of this system is known at run time only
    """A path whose ``write_bytes`` replaces the file atomically and durably, and remembers what it wrote.

    Put in place of a trainer's ``last`` and ``best``, it makes Ultralytics' in-place writes whole or absent, and gives
    the digest of what was written while that was still in memory. Joined paths are of this class too, with nothing
    remembered; a copy remembers; a pickle is a plain path, so a checkpoint that happens to carry one needs nothing of
    this package to load.
    """

    written: SavedFile | None = None
    """The last bytes written through this very object; None before."""
    announce: Announce | None = None
    """Told of what is about to be written; see :func:`replacing`."""

    def write_bytes(self, data: bytes | memoryview) -> int:
        """The file holds ``data`` and :attr:`written` says so, or OSError and it holds what it held."""
        saved = write_atomically(Path(self), memoryview(data).cast("B"), announce=self.announce)
        self.written = saved
        return saved.bytes

    def __copy__(self) -> AttestedPath:
        duplicate = type(self)(str(self))
        duplicate.written = self.written
        return duplicate

    def __deepcopy__(self, memo: dict[int, Any]) -> AttestedPath:
        return self.__copy__()

    def __reduce__(self) -> tuple[type[Path], tuple[str]]:
        return (Path, (str(self),))
