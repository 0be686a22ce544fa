"""Where copies lie: a folder on another disk, or any URL that fsspec knows. The only room that speaks to fsspec."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.files import CHUNK_BYTES, SavedFile
from trainmaster.trainer.checkpoints.plain_file import NoRegularFileError, opened_plain
from trainmaster.trainer.copies.mounts import missing_mount, mount_of

VARIABLE: Final = "COPY_TO"
OWNER_NAME: Final = "owner.json"
OWNER_FORMAT: Final = "trainmaster-copy"
PART: Final = ".part"
"""Ends the name of what is being written."""
_WHOLE_AT_ONCE: Final = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az", "adl", "oci", "oss"})
"""Stores where an object is there when all of it is; a rename would copy it."""
_MAX_RECORD_BYTES: Final = 1 << 20
_ABANDONED_S: Final = 86_400.0
"""Since an upload began: nobody sends one file for a day."""
_LOGIN: Final = re.compile(r"://(?:[^/@\s:]*:\S*|[^/\s]*)@")
"""Of an address, also where somebody left ``@`` or ``/`` in the password as they are."""


class CopyError(Exception):
    """The place of copies can't be used now: full, gone, refused. What it says holds no secret."""


class CopyDamagedError(CopyError):
    """The disk that it lies on can't read it any more."""


class CopyFullError(CopyError):
    """There is no room for more."""


class OwnDiskError(OSError):
    """The run's own file can't be read; the place of copies has nothing to do with it."""


class NotOursError(CopyError):
    """What lies there belongs to somebody else; nothing of it was touched."""


def shown(url: str) -> str:
    """``url`` as people may read it: without a password, without what follows a question mark."""
    return _LOGIN.sub("://***@", url).partition("?")[0]


def has_password(url: str) -> bool:
    """Whether ``url`` holds what nobody should read."""
    return re.search(r"://[^/@\s:]*:\S*@", url) is not None or "?" in url


def check_place(text: str) -> str:
    """``text``, a URL or the full path of a folder.

    Raises:
        ArgumentsError: neither, or an address that names nothing that stays.
    """
    last = text.rpartition("::")[2]  # of ``simplecache::s3://bucket``, what the others are in front of
    kind, mark, rest = last.partition("://")
    hint = "/mnt/other-disk/copies, s3://bucket/copies"
    if mark:
        is_path = kind not in {"file", "local"} or rest.startswith("/")
        if kind == "memory" or not is_path or not rest.partition("?")[0].strip("/"):
            raise ArgumentsError(f"copy_to={shown(text)} names no bucket and no folder that stays", hint)
    elif not Path(last).is_absolute():
        raise ArgumentsError(f"copy_to={text} is neither a URL nor a full path", hint)
    return text


def below(place: str, name: str) -> str:
    """Where the copies of the run called ``name`` lie at ``place``."""
    head, mark, query = place.partition("?")
    return f"{head.rstrip('/')}/{name}{mark}{query}"


class Folder:
    """The folder of one run at its place of copies.

    Every call may raise CopyError, whatever the library behind it raised.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.answered: Callable[[], None] = lambda: None
        """Told of each answer of the place, however little it brings."""
        self._fs: Any = None
        with self._told():
            import fsspec  # noqa: PLC0415 - 50 ms, and only those who keep copies need it

            above, _, name = url.rpartition("/")
            found: tuple[Any, str] = fsspec.core.url_to_fs(above if "::" in name else url)
            self._fs, self._root = found
            self._root += f"/{name}" if "::" in name else ""  # of a run's name they chain no file systems
        kinds = self._fs.protocol if isinstance(self._fs.protocol, tuple | list) else (self._fs.protocol,)
        self.is_local = "file" in kinds
        self._renames = not _WHOLE_AT_ONCE.intersection(kinds)

    @property
    def shown(self) -> str:
        """Its address, without secrets."""
        return shown(self.url)

    def require_parent(self) -> None:
        """A folder that is to hold the folders of runs is there. It is never made: a disk that is not mounted would
        leave its mount point, and the copies would lie beside what they shall outlive."""
        parent = os.path.dirname(self._root.rstrip("/"))  # noqa: PTH120 - of any file system
        with self._told():  # which tells of what may not be looked at, or does not answer
            try:
                is_there = not self.is_local or stat.S_ISDIR(os.stat(parent).st_mode)  # noqa: PTH116 - as above
            except (FileNotFoundError, NotADirectoryError):
                is_there = False
        if not is_there:
            raise CopyError(f"{shown(parent)} is not there; is its disk mounted?")

    def mount(self) -> str | None:
        """Where the disk is mounted that it lies on; None of what is no folder of this host."""
        if not self.is_local:
            return None
        return mount_of(Path(self._root))

    def missing_mount(self) -> str | None:
        """Where a disk ought to be mounted that it would lie on, and none is; None where the host says of none."""
        return missing_mount(Path(self._root)) if self.is_local else None

    def names(self, inside: str = "") -> dict[str, int | None]:
        """Name -> bytes of the files in it, as the store has them now."""
        where = self._path(inside) if inside else self._root
        with self._told():
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(where, detail=True)
            except FileNotFoundError:
                return {}
            return {str(one["name"]).rsplit("/", 1)[-1]: one.get("size") for one in found if one.get("type") == "file"}

    def size_of(self, name: str) -> int | None:
        """Bytes of the file ``name``, whatever a listing says; None when there is none."""
        with self._told():
            self._fs.invalidate_cache()
            try:
                size: int | None = self._fs.info(self._path(name)).get("size")
            except FileNotFoundError:
                return None
        return size

    def is_empty(self, *, but: str) -> bool:
        """Whether nothing lies in it, not even a folder; what a broken off write of ``but`` left does not count."""
        with self._told():
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._root, detail=True)
            except FileNotFoundError:
                return True
        return all(str(one["name"]).rsplit("/", 1)[-1] == but + PART for one in found)

    def is_within(self, root: Path) -> bool:
        """Whether it lies in that folder of this host."""
        return self.is_local and Path(self._root).resolve().is_relative_to(root.resolve())

    def read_bytes(self, name: str, limit: int) -> bytes:
        """Up to ``limit`` bytes of ``name``; none where there is none."""
        with self._told():
            try:
                with self._open(self._path(name), "rb") as stream:
                    content: bytes = stream.read(limit)
            except FileNotFoundError:
                return b""
        return content

    def read_record(self, name: str) -> dict[str, Any] | None:
        """The JSON object in ``name``; None when there is none."""
        try:
            value = json.loads(self.read_bytes(name, _MAX_RECORD_BYTES))
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def write(self, name: str, content: bytes) -> None:
        """``name`` holds ``content``, whole."""
        with self._told():
            self._make_room_for(name)
            target = self._path(name)
            written = target + PART if self._renames else target
            with self._open(written, "wb") as stream:
                stream.write(content)
                self._settle(stream)
            if self._renames:
                self._replace(written, target)

    def put(self, source: Path, name: str, *, expected: SavedFile, progress: Callable[[], None]) -> bool:
        """``name`` holds ``expected``, read from ``source``; False when that has become another file meanwhile.

        Where a file can be written on (a folder), what a broken copy left is read back and continued.
        """
        with source.open("rb") as origin, self._told():
            self._make_room_for(name)
            target = self._path(name)
            written = target + PART if self._renames else target
            self._unfinished(target, written)
            digest, start = self._there(written, origin, expected) if self.is_local else (hashlib.sha256(), 0)
            with self._open(written, "ab" if start else "wb") as stream:
                while chunk := _read(origin, CHUNK_BYTES):
                    stream.write(chunk)
                    digest.update(chunk)
                    progress()
                num_bytes = origin.tell()
                self._settle(stream)
            if SavedFile(sha256=digest.hexdigest(), bytes=num_bytes) != expected:
                self._fs.rm_file(written)
                return False
            if self.is_local and os.path.getsize(written) != num_bytes:  # noqa: PTH202 - of any file system
                raise CopyError(f"{written} grew while it was written: somebody else writes there, too")
            if self._renames:
                self._replace(written, target)
        return True

    @contextmanager
    def reading(self, name: str) -> Iterator[Callable[[int], bytes]]:
        """What reads so many bytes more of ``name``. What else fails meanwhile is none of the place's."""
        with self._told():
            stream = self._open(self._path(name), "rb")

        def read(size: int) -> bytes:
            with self._told():
                content: bytes = stream.read(size)
            return content

        with stream:
            yield read

    def remove(self, name: str) -> None:
        """``name`` is not there."""
        with self._told():
            try:
                self._fs.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def drop_abandoned_uploads(self, inside: str) -> None:
        """What somebody who was killed had begun to send into that folder a day ago or longer is gone: S3 shows such
        parts to nobody, keeps them for good, and bills them. Whoever may only write leaves them."""
        uploads, call = getattr(self._fs, "list_multipart_uploads", None), getattr(self._fs, "call_s3", None)
        if uploads is None or call is None:
            return
        bucket, _, prefix = f"{self._path(inside)}/".partition("/")
        with suppress(Exception):
            for one in uploads(bucket):
                if one["Key"].startswith(prefix) and time.time() - one["Initiated"].timestamp() > _ABANDONED_S:
                    call("abort_multipart_upload", Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _open(self, path: str, mode: str) -> Any:
        return _opened_plain(path, mode) if self.is_local else self._fs.open(path, mode)

    def _make_room_for(self, name: str) -> None:
        if self._renames:  # the others have no folders, and would make a bucket that nobody asked for
            self._fs.makedirs(self._path(name).rsplit("/", 1)[0], exist_ok=True)

    def _unfinished(self, target: str, written: str) -> None:
        """What lies at ``target`` got no digest, or is torn: it is gone on with, and takes no room of another."""
        if self.is_local:
            if os.path.isfile(target) and not os.path.isfile(written):  # noqa: PTH113 - of any file system
                os.replace(target, written)  # noqa: PTH105 - as above
        elif self._renames and self._fs.exists(target):
            self._fs.rm_file(target)

    def _there(self, written: str, origin: BinaryIO, expected: SavedFile) -> tuple[Any, int]:
        """The digest and the length of what is written already, and ``origin`` behind it; of nothing if it differs."""
        digest = hashlib.sha256()
        size = os.stat(written).st_size if os.path.isfile(written) else 0  # noqa: PTH113, PTH116 - of any file system
        if 0 < size <= expected.bytes:
            with self._open(written, "rb") as begun:
                same = True
                while same and (chunk := begun.read(CHUNK_BYTES)):
                    same = _read(origin, len(chunk)) == chunk
                    digest.update(chunk)
            if same:
                return digest, size
        origin.seek(0)
        return hashlib.sha256(), 0

    def _settle(self, stream: Any) -> None:
        """What was written survives a power cut, where that is ours to say."""
        if self.is_local:
            stream.flush()
            os.fsync(stream.fileno())

    def _replace(self, written: str, target: str) -> None:
        if self.is_local:
            os.replace(written, target)  # noqa: PTH105 - as above
        else:
            if self._fs.exists(target):
                self._fs.rm_file(target)
            from fsspec.spec import AbstractFileSystem  # noqa: PLC0415 - as above

            if getattr(self._fs.mv, "__func__", None) is AbstractFileSystem.mv:  # takes * and ? for any name that fits
                self._fs.cp_file(written, target)
                self._fs.rm_file(written)
            else:
                self._fs.mv(written, target)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (CopyError, OwnDiskError):
            raise
        except Exception as error:  # noqa: BLE001 - a hundred libraries stand behind fsspec, each with its own errors
            said = " ".join(str(error).replace(self.url, self.shown).split()) or type(error).__name__
            number = error.errno if isinstance(error, OSError) else None
            kind = _KINDS.get(number, CopyError)
            self._forget_connections()
            raise kind(f"{self.shown}: {shown_within(said)[:300]}") from None
        self.answered()

    def _forget_connections(self) -> None:
        """Who asks next makes one of its own: fsspec would hand on this one, which may be dead for good."""
        one = self._fs
        while one is not None:
            type(one).clear_instance_cache()
            one = getattr(one, "fs", None)


def _read(origin: BinaryIO, size: int) -> bytes:
    """So many bytes more of the run's own file.

    Raises:
        OwnDiskError: its disk can't read it.
    """
    try:
        return origin.read(size)
    except OSError as error:
        raise OwnDiskError(error.errno, error.strerror, origin.name) from error


_KINDS: Final[Mapping[int | None, type[CopyError]]] = {
    errno.EIO: CopyDamagedError,
    errno.ENOSPC: CopyFullError,
    errno.EDQUOT: CopyFullError,
}


def _opened_plain(path: str, mode: str) -> BinaryIO:
    """As ``open``, of a plain file alone: a pipe that somebody put there would be waited for without end.

    Raises:
        CopyError: it is none.
        OSError: it can't be opened.
    """
    try:
        return opened_plain(Path(path), mode)
    except NoRegularFileError as error:
        raise CopyError(f"{path} is no regular file, and is left alone") from error


def shown_within(text: str) -> str:
    """``text`` of somebody else's making, without passwords of addresses and values behind a question mark."""
    return re.sub(r"\?\S+", "?***", _LOGIN.sub("://***@", text))


def wanted_place(setting: str | None, environ: Mapping[str, str]) -> str | None:
    """Where copies are to go: the run's own setting, else the environment's; None for nowhere."""
    return (setting or environ.get(VARIABLE, "").strip()) or None
