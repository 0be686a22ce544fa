"""Which of several bots acts on the runs of one RUNS_DIR: the one whose lease lies in it. The others only watch.

The file system may be shared by hosts whose clocks differ, so nobody's time is believed: a holder lives while its lease
is seen to change, and on the same host while its process is there.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from trainmaster.visible import visible_line

_LOG = logging.getLogger(__name__)

NAME: Final = ".trainmaster-lease.json"
"""In RUNS_DIR. No run: it is no directory."""
BEAT_S: Final = 5.0
"""The lease is renewed this often."""
GONE_S: Final = 30.0
"""A lease that has not been seen to change for so long has no holder; longer than shared file systems cache (NFS:
``acregmax`` of files that change, a few seconds)."""
_MAX_CHARS: Final = 64
"""Of a host's name, as Linux has it at most; what stands in the file was written by others."""
_SETTLE_S: Final = 0.2
"""Between taking over a dead neighbour's lease and reading whether somebody else did so too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A bot process. ``pids`` names its pid namespace: only within the same one does a pid tell anything."""

    id: str
    host: str
    boot: str
    pids: str
    pid: int
    started: str
    beat: int = 0
    tells: str = ""
    """Names the app and the channel by which it tells what it sees; empty where an older one wrote it."""

    def words(self) -> str:
        """``pid 7 on gpu03``: what a person needs to find it."""
        return f"pid {visible_line(str(self.pid))[:_MAX_CHARS]} on {visible_line(str(self.host))[:_MAX_CHARS]}"


class Lease:
    """:meth:`keep` is called every :data:`BEAT_S`; what it may find on a dead mount blocks, so call it in a thread."""

    def __init__(
        self,
        runs_dir: Path,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        me: Holder | None = None,
        tells: str = "",
    ) -> None:
        """``tells`` names the app and the channel by which this bot tells what it sees."""
        self._path = runs_dir / NAME
        self._monotonic = monotonic
        self._me = me or _myself(tells)
        self._held_s: float | None = None
        """When the lease was last known to be ours."""
        self._claimed_s: float | None = None
        self._seen: tuple[Holder, float] | None = None
        """The other one's lease, and since when it has read so."""
        self._possible = True
        self.away = False
        """Whether RUNS_DIR was not there at the last look."""

    def why_not(self) -> str:
        """Why this bot only watches, in words; empty while it may act."""
        if not self._possible or self._holds():
            return ""
        if self._seen is not None:
            return f"another Trainmaster acts on them ({self._seen[0].words()})"
        if self.away:
            return "RUNS_DIR is not there, and with it the word of which Trainmaster acts on them"
        return "it is not certain yet that no other Trainmaster acts on them"

    def other(self) -> str:
        """The bot that acts in place of this one, in words; empty while none is known to."""
        return self._seen[0].words() if self._seen is not None and self.why_not() else ""

    def told_by_other(self) -> bool:
        """Whether the bot that acts in place of this one tells what it sees where this one would."""
        return self._seen is not None and bool(self.other()) and self._seen[0].tells == self._me.tells != ""

    def me(self) -> str:
        """This bot, as others name it."""
        return self._me.words()

    def _holds(self) -> bool:
        return self._held_s is not None and self._monotonic() - self._held_s < GONE_S

    def keep(self) -> str:
        """The lease is renewed, or taken from a holder that is gone, or left with one that is not. Returns
        :meth:`why_not`.

        Raises:
            OSError: it can't be read or renewed now; the lease runs out when that lasts.
        """
        now_s = self._monotonic()
        try:
            self.away = not self._path.parent.is_dir()
            if self.away:
                self._claimed_s = None  # a claim counts only where others can see it
                return self.why_not()
            found = self._read()
            if found is None:
                self._begin(now_s)
            elif found.id == self._me.id:
                self._renew(now_s)
            else:
                self._other(found, now_s)
            self._possible = True
        except PermissionError as error:
            # Nobody can act on runs that nobody here can write to, except by signals: then as without a lease.
            if self._possible:
                _LOG.warning("lease: %s can't be written (%s): two bots here would not notice each other", NAME, error)
            self._possible = False
        return self.why_not()

    def release(self) -> None:
        """The next bot need not wait."""
        try:
            found = self._read()
            if found is not None and found.id == self._me.id:
                self._path.unlink()
        except OSError as error:
            _LOG.warning("lease: not released: %s", error)

    def _begin(self, now_s: float) -> None:
        """Nobody has it: whoever links the file first does."""
        temporary = self._write_beside()
        try:
            os.link(temporary, self._path)
            self._held_s, self._seen, self._claimed_s = now_s, None, None
        except FileExistsError:
            pass  # somebody was faster: seen at the next beat
        except OSError:  # a file system without hard links
            temporary.replace(self._path)
            self._claimed_s = now_s
        finally:
            temporary.unlink(missing_ok=True)

    def _renew(self, now_s: float) -> None:
        if self._claimed_s is not None and now_s - self._claimed_s < BEAT_S:
            return
        if self._claimed_s is not None:
            _LOG.warning("lease: this bot acts on the runs from now on")
        elif not self._holds():
            # Nobody renewed it for so long that another one may be about to take it, or has and was overwritten.
            self._replace()
            self._claimed_s = now_s
            return
        self._claimed_s, self._seen = None, None
        self._replace()
        self._held_s = now_s

    def _other(self, found: Holder, now_s: float) -> None:
        if self._held_s is not None:
            _LOG.warning("lease: %s took it; this bot only watches", found.words())
        self._held_s, self._claimed_s = None, None
        if self._seen is None or self._seen[0] != found:
            if self._seen is None or self._seen[0].id != found.id:
                _LOG.warning("lease: another Trainmaster acts on the runs (%s); this one only watches", found.words())
            self._seen = (found, now_s)
        if _is_dead(found, self._me):
            self._replace()
            time.sleep(_SETTLE_S)
            again = self._read()
            if again is not None and again.id == self._me.id:
                self._held_s, self._seen = self._monotonic(), None
                _LOG.warning("lease: %s is gone; this bot acts on the runs from now on", found.words())
        elif now_s - self._seen[1] >= GONE_S:
            self._replace()
            self._claimed_s = now_s

    def _read(self) -> Holder | None:
        try:
            return _holder(_plain_bytes(self._path))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, RecursionError, PermissionError):
            return Holder(id=f"unreadable-{_changed_ns(self._path)}", host="?", boot="?", pids="?", pid=0, started="?")

    def _replace(self) -> None:
        """The lease that lies there is ours, whatever lay there."""
        try:
            self._write_beside().replace(self._path)
        except IsADirectoryError:
            self._path.rename(self._path.with_name(f"{NAME}.aside-{secrets.token_hex(4)}"))
            raise  # the next beat finds the place free
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            self._write_over()  # a full disk is when somebody has to stop a run
        finally:
            self._beside().unlink(missing_ok=True)

    def _write_over(self) -> None:
        """As :meth:`_replace`, in the room that the file has; who reads it half written sees it change, too."""
        data = json.dumps(asdict(self._me)).encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.pwrite(descriptor, data, 0)
            os.ftruncate(descriptor, len(data))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _beside(self) -> Path:
        return self._path.with_name(f"{NAME}.{self._me.id}")

    def _write_beside(self) -> Path:
        beat = Holder(**{**asdict(self._me), "beat": self._me.beat + 1})
        self._me = beat
        temporary = self._beside()
        with temporary.open("w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), 0o644)  # a bot of another user must see it, whatever the umask is
            json.dump(asdict(beat), stream)
            stream.flush()
            os.fsync(stream.fileno())
        return temporary


def _holder(data: bytes) -> Holder:
    """Who wrote it, in the types that a bot writes.

    Raises:
        ValueError: no bot of this edition wrote it; so do TypeError and RecursionError tell.
    """
    found = Holder(**json.loads(data))
    words = (found.id, found.host, found.boot, found.pids, found.started, found.tells)
    if not all(isinstance(word, str) for word in words) or not (type(found.pid) is type(found.beat) is int):
        raise ValueError("no lease")
    return found


def _plain_bytes(path: Path) -> bytes:
    """The beginning of a plain file; what else may lie there (a link, a pipe) is no lease.

    Raises:
        OSError: it can't be read.
        ValueError: it is no plain file.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("no plain file")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.read(descriptor, 10_000)
    finally:
        os.close(descriptor)


def _changed_ns(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0


def _myself(tells: str = "") -> Holder:
    pid = os.getpid()
    return Holder(
        id=secrets.token_hex(8),
        host=os.uname().nodename,
        boot=_text(Path("/proc/sys/kernel/random/boot_id")),
        pids=_pid_namespace(),
        pid=pid,
        started=_started(pid),
        tells=tells,
    )


def _is_dead(other: Holder, me: Holder) -> bool:
    """Whether it is certain, from here, that its process is over."""
    if not me.boot or (other.host, other.boot, other.pids) != (me.host, me.boot, me.pids):
        return False
    return _started(other.pid) != other.started


def _started(pid: int) -> str:
    """Start time in ticks since boot; empty when there is no such process (or no /proc)."""
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
