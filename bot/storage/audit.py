"""Who decided and did what: a file of JSON lines, append-only, each line carrying the digest of the one before."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from trainmaster.bot.core.decisions.audit import AuditEntry, AuditReport
from trainmaster.bot.errors import StoreError
from trainmaster.trainer.contract import fsync_dir, read_json, replace_json
from trainmaster.visible import visible, visible_line

AUDIT_LOG: Final = "audit.jsonl"
"""Its name in STATE_DIR."""

GENESIS: Final = "0" * 64
"""What the first entry carries in place of a digest."""

_ROOM_BYTES: Final = 64 * 1024
"""An entry is a few hundred bytes, and a file system gives out whole blocks."""

TORN_ACTION: Final = "audit.torn"
"""Marks that the line before was cut off by a crash: it was never acknowledged, so nothing was done on its account."""


class AuditLog:
    """Implements :class:`trainmaster.bot.operations.ports.AuditBook`.

    Beside the file stands ``<name>.head`` with the number and digest of the last entry, so that lines cut off at the
    end are noticed; somebody who rewrites both files from the start is not. Several processes may append.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head_path = path.with_name(path.name + ".head")

    def append(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """Written and synced before this returns.

        Raises:
            StoreError: it could not be written; the caller must not act (an emergency stop may, and says so).
        """
        try:
            with self._locked() as descriptor:
                last = self._close_torn_line(descriptor, now)
                entry = _sealed(
                    seq=last.seq + 1 if last else 1,
                    previous=last.digest if last else GENESIS,
                    ts=now,
                    actor=actor,
                    action=action,
                    subject=visible_line(subject),
                    detail=_shown(detail),
                )
                self._write(descriptor, entry)
        except (OSError, ValueError, TypeError) as error:
            raise self._fault(error) from error

    def append_later(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """See :class:`operations.ports.AuditBook`. Nothing can wait here: it is written, or is not.

        Raises:
            StoreError: it could not be written.
        """
        self.append(actor, action, subject, detail, now)

    def append_once(self, actor: str, action: str, subject: str, detail: Mapping[str, Any], now: float) -> None:
        """See :class:`operations.ports.AuditBook`. Only the bot that owns the operation writes about it, so looking
        first is safe.

        Raises:
            StoreError: it could not be written.
        """
        if not self.tells(action, detail["operation"]):
            self.append(actor, action, subject, detail, now)

    def tells(self, action: str, operation: object) -> bool:
        """Whether an entry of that action about the operation stands.

        Raises:
            StoreError: the file is there and cannot be read.
        """
        known = ((entry.action, entry.detail.get("operation")) for entry in map(_parse, self._lines()) if entry)
        return (action, operation) in known

    def details(self, name: str) -> set[str]:
        """What entries say under ``name`` in their detail.

        Raises:
            StoreError: the file is there and cannot be read.
        """
        found = (entry.detail.get(name) for entry in map(_parse, self._lines()) if entry)
        return {one for one in found if isinstance(one, str)}

    def check(self) -> None:
        """An entry could be written at this moment.

        Raises:
            StoreError: it could not.
        """
        try:
            with self._locked() as descriptor:
                free = os.fstatvfs(descriptor)
                if free.f_bavail * free.f_frsize < _ROOM_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._fault(error) from error

    def entries(self, limit: int = 20) -> tuple[AuditEntry, ...]:
        """The newest entries, oldest first; lines that cannot be read are passed over.

        Raises:
            StoreError: the file is there and cannot be read.
        """
        return tuple(entry for entry in map(_parse, self._lines()) if entry is not None)[-limit:]

    def verify(self) -> AuditReport:
        """Every line checked against the one before it and the last one against the head. Entries may be written
        meanwhile.

        Raises:
            StoreError: the file is there and cannot be read.
        """
        faults: list[str] = []
        digests: dict[int, str] = {0: GENESIS}
        last, torn = (0, GENESIS), None
        head = read_json(self._head_path)  # first: an entry that is written from now on moves it
        data = self._content()
        for number, line in enumerate(data.splitlines(), start=1):
            entry = _parse(line)
            if entry is None:
                if torn is not None:
                    faults.append(f"line {torn[0]} is no entry")
                torn = (number, hashlib.sha256(line).hexdigest())
                continue
            if torn is not None:
                if entry.action != TORN_ACTION or entry.detail.get("sha256") != torn[1]:
                    faults.append(f"line {torn[0]} is no entry")
                torn = None
            if entry.digest != _digest(entry):
                faults.append(f"line {number} was changed: its content does not match its digest")
            if (entry.seq, entry.previous) != (last[0] + 1, last[1]):
                faults.append(f"line {number} does not follow entry {last[0]}: lines were left out, moved or put in")
            last = (entry.seq, entry.digest)
            digests[entry.seq] = entry.digest
        if torn is not None and data.endswith(b"\n"):
            faults.append(f"line {torn[0]} is no entry")
        faults += self._head_faults(head, last[0], digests)
        return AuditReport(num_entries=last[0], head=last[1], faults=tuple(faults))

    def _head_faults(self, head: Mapping[str, Any] | None, last_seq: int, digests: Mapping[int, str]) -> list[str]:
        if head is None:
            return [f"{self._head_path.name} is missing"] if last_seq else []
        seq = head.get("seq")
        if not isinstance(seq, int) or seq > last_seq:
            return [f"the file ends with entry {last_seq}, but entry {seq} was written: lines were cut off at the end"]
        # A crash or a full disk between the line and the head leaves the head behind; it must still be on the chain.
        if digests.get(seq) != head.get("digest"):
            return [f"{self._head_path.name} names entry {seq} with another digest"]
        return []

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        created = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if created:
                fsync_dir(self._path.parent)
            yield descriptor
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, entry: AuditEntry, *, prefix: bytes = b"") -> None:
        """Whole and synced, or not at all: a line that did not fit is cut off again."""
        size = os.fstat(descriptor).st_size
        content = prefix + _encode(entry) + b"\n"
        try:
            if os.write(descriptor, content) != len(content):
                raise OSError(f"only a part of {len(content)} bytes was written")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        replace_json(self._head_path, {"seq": entry.seq, "digest": entry.digest}, durable=True, mode=0o600)

    def _close_torn_line(self, descriptor: int, now: float) -> AuditEntry | None:
        """The last entry; a cut-off line after it is ended and sworn to by an entry of its own."""
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        lines = content.split(b"\n")
        rest = lines.pop()
        last = next((entry for line in reversed(lines) if (entry := _parse(line)) is not None), None)
        if last is None and any(lines):
            raise ValueError("it holds no entry that can be read; move it aside")
        if not rest:
            return last
        torn = _sealed(
            seq=last.seq + 1 if last else 1,
            previous=last.digest if last else GENESIS,
            ts=now,
            actor="trainmaster",
            action=TORN_ACTION,
            subject="audit",
            detail={"sha256": hashlib.sha256(rest).hexdigest(), "bytes": len(rest)},
        )
        self._write(descriptor, torn, prefix=b"\n")
        return torn

    def _fault(self, error: Exception) -> StoreError:
        return StoreError(
            "audit-log",
            f"{self._path} cannot be written: {error}.",
            "check free space and permissions of STATE_DIR; no rollback is carried out until it is mended",
        )

    def _lines(self) -> list[bytes]:
        return self._content().splitlines()

    def _content(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StoreError("audit-log", f"{self._path} cannot be read: {error}.", "check its permissions") from error


def _shown(value: Any) -> Any:
    """As it may be read on any screen: nothing in the log is obeyed by whatever shows it."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible_line(str(key)): _shown(one) for key, one in value.items()}
    return [_shown(one) for one in value] if isinstance(value, list | tuple) else value


def _sealed(
    *, seq: int, previous: str, ts: float, actor: str, action: str, subject: str, detail: Mapping[str, Any]
) -> AuditEntry:
    entry = AuditEntry(
        seq=seq, ts=ts, actor=actor, action=action, subject=subject, detail=detail, previous=previous, digest=""
    )
    return AuditEntry(**{**_values(entry), "digest": _digest(entry)})


def _values(entry: AuditEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in AuditEntry.__slots__}


def _canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode()


def _digest(entry: AuditEntry) -> str:
    return hashlib.sha256(
        _canonical({name: value for name, value in _values(entry).items() if name != "digest"})
    ).hexdigest()


def _encode(entry: AuditEntry) -> bytes:
    return _canonical(_values(entry))


def _parse(line: bytes) -> AuditEntry | None:
    try:
        record = json.loads(line)
        entry = AuditEntry(**record)
    except (ValueError, TypeError):
        return None
    whole = isinstance(entry.seq, int) and isinstance(entry.detail, dict) and isinstance(entry.digest, str)
    return entry if whole else None
