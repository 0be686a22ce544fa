"""The border of a run directory: looked at here, once a look, and nowhere behind it.

What is found stands in ``RunView.watched_only``: the bot acts on a run only while that is empty.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.ownership import (
    GROUP_MAY_WRITE,
    WORLD_MAY_WRITE,
    Account,
    FileRole,
    OwnedFile,
    OwnerCheck,
    fault_of,
)
from trainmaster.bot.reading.plain_files import NotPlainError, is_of_kernel, open_plain
from trainmaster.trainer.contract import RunLayout

_ACL: Final = "system.posix_acl_access"
_ACL_ENTRY: Final = "<HHI"
_ACL_USER: Final = 0x02
_ACL_GROUP: Final = 0x08
_ACL_WRITE: Final = 0x02
_INTERPRETER: Final = re.compile(r"(?:python|pypy)[0-9.]*[a-z]?(?:\.exe)?")
_MAX_LINKS: Final = 16
"""Of the interpreter: a virtual environment has one or two, the kernel follows 40."""
_OTHERS_MAY_WRITE: Final = GROUP_MAY_WRITE | WORLD_MAY_WRITE
_RUNS_REMEMBERED: Final = 8192
"""Whose paths are put together once and not at every look, which is most of what a look would cost."""


def is_gone(place: Path) -> bool:
    """Whether nothing is there any more. A mount that gives no answer, or no permission, is not gone."""
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def who_is_trusted(check: OwnerCheck) -> str:
    """What ``OWNER_CHECK`` means for this process, in words: for the start and for ``doctor``."""
    account = own_account()
    if check is OwnerCheck.OFF:
        return "OWNER_CHECK=off: the bot acts on every run it finds, whoever owns it"
    text = f"OWNER_CHECK={check.value}: the bot acts on runs of uid {account.uid} that nobody else may write to"
    if check is OwnerCheck.GROUP:
        groups = ", ".join(map(str, sorted(account.groups)))
        return f"{text}, but members of its groups ({groups})"
    return text


def login_of(directory: Path) -> str | None:
    """The user to whom the directory belongs, by name; None where that can't be told."""
    try:
        return _login(directory.lstat().st_uid)
    except OSError:
        return None


@cache
def _login(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def own_account() -> Account:
    """The user that this process acts as."""
    uid, gid = os.geteuid(), os.getegid()
    return Account(uid=uid, groups=frozenset((gid, *os.getgroups())), private_gid=_private_gid(uid))


def _private_gid(uid: int) -> int | None:
    """The group that has the user's own name and no other member. Root's is none: what it may write, others run."""
    if uid == 0:
        return None
    try:
        user = pwd.getpwuid(uid)
        group = grp.getgrgid(user.pw_gid)
    except KeyError:
        return None
    return group.gr_gid if group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name} else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """``root`` is RUNS_DIR: it and everything below must be out of strangers' reach; what lies above is the operator's
    choice, which ``doctor`` looks at."""

    check: OwnerCheck = OwnerCheck.USER
    root: Path | None = None
    account: Account = field(default_factory=own_account)

    def fault(self, directory: Path, record: RunRecord | None) -> str:
        """Why nothing is done to the run in ``directory``, only looked at; empty when the bot may act on it. Of a
        directory that is gone the surroundings are judged, for a run whose ``record`` was read before."""
        try:
            return next((fault for fault in self._faults(directory, record) if fault), "")
        except OSError as error:
            name = error.filename if isinstance(error.filename, str) else str(directory)
            return f"{name} can't be examined: {error.strerror or error}"

    def readers(self, directory: Path) -> frozenset[int] | None:
        """Whose files are read in ``directory``: of a stranger's run, only what is the stranger's own. None where
        owners mean nothing."""
        if self.check is OwnerCheck.OFF:
            return None
        try:
            uid = directory.lstat().st_uid
        except OSError:
            return frozenset()
        return frozenset({uid, 0}) if uid == self.account.uid else frozenset({uid})

    def open(self, directory: Path, path: Path) -> int:
        """As :func:`trainmaster.bot.reading.plain_files.open_plain`, for a file of the run in ``directory``: neither
        what a stranger's run names, nor where a stranger's link in the bot's own run leads.

        Raises:
            OSError: it can't be read, or must not be.
        """
        descriptor = open_plain(path, self.readers(directory))
        try:
            if self._led_away(directory, path, descriptor):
                raise NotPlainError(path, "is reached by a link that a stranger may have made")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _led_away(self, directory: Path, path: Path, descriptor: int) -> bool:
        """Whether the open file lies outside the run, and somebody else may have seen to that."""
        if self.check is OwnerCheck.OFF or not _is_below(str(path), str(directory)):
            return False
        if _is_below(_place_of(descriptor, path), _real(directory)):
            return False
        ways = [path, *(one for one in path.parents if one.is_relative_to(directory))]
        for way in ways:
            status = way.lstat()
            if status.st_uid not in {self.account.uid, 0}:
                return directory.lstat().st_uid == self.account.uid  # else it is the stranger's own file
            if stat.S_ISDIR(status.st_mode) and self._judge("", FileRole.RECORD, status, way):
                return True
        return False

    def _faults(self, directory: Path, record: RunRecord | None) -> Iterator[str]:
        gone = record is not None and is_gone(directory)
        if not gone:
            yield self._judge("", FileRole.RECORD, directory.lstat())
        for parent in self._parents(directory):
            if not (gone and is_gone(parent)):
                yield self._link(parent, parent.lstat())
                yield self._judge(str(parent), FileRole.PARENT, parent.stat(), parent)
        yield from self._records(directory)
        yield from self._archive(_places_of(directory)[-1])
        if record is None:
            return
        yield from self._log(directory, record)
        if record.guarded:
            yield from self._interpreter(record)
        place = record.relaunch.cwd if record.relaunch else record.cwd
        if place:
            yield self._folder(_path_of(place))

    def _parents(self, directory: Path) -> Sequence[Path]:
        """From RUNS_DIR down; of a run elsewhere, the folder that it lies in."""
        return _parents_of(directory.absolute(), self.root.absolute() if self.root else None)

    def _archive(self, folder: Path) -> Iterator[str]:
        """What rollbacks put aside, and bring back, is the run's: nobody else made the place for it."""
        above = folder.parent
        if not is_gone(folder):
            yield self._judge(str(folder), FileRole.RECORD, folder.stat(), folder)
        elif is_gone(above) or not os.access(above, os.W_OK):
            return  # nothing of this run can come to lie there
        yield self._judge(str(above), FileRole.PARENT, above.stat(), above)

    def _records(self, directory: Path) -> Iterator[str]:
        for folder in _places_of(directory):
            try:
                entries = list(os.scandir(folder))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                    if not self._is_plainly_ours(status):
                        yield self._entry(directory, Path(entry.path), status)
                except FileNotFoundError:  # the trainer replaces its files all the time
                    continue

    def _is_plainly_ours(self, status: os.stat_result) -> bool:
        """Whether it is a file or folder of the bot's own user to which nobody else may write: nearly all are, and of
        those :meth:`_entry` finds no fault."""
        plain = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        return plain and self._is_ours_alone(status) and not is_of_kernel(status)

    def _is_ours_alone(self, status: os.stat_result) -> bool:
        """Whether only the bot's own user may write to it, in which ``fault_of`` finds no fault, whatever it is for."""
        return status.st_uid == self.account.uid and not status.st_mode & _OTHERS_MAY_WRITE

    def _entry(self, directory: Path, path: Path, status: os.stat_result) -> str:
        name = str(path.relative_to(directory) if path.is_relative_to(directory) else path)
        if stat.S_ISLNK(status.st_mode):
            if fault := self._link(Path(name), status):
                return fault
            try:
                status = path.stat()
            except (FileNotFoundError, OSError):
                return ""  # it leads nowhere: nothing is read or started through it
            name = f"{name}, a link to {os.path.realpath(path)}"
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            return f"it holds something that is neither file nor folder ({name})"
        if is_of_kernel(status):
            return f"it holds one of the kernel's own files ({name})"
        return self._judge(name, FileRole.RECORD, status, path)

    def _link(self, path: Path, status: os.stat_result) -> str:
        """A link's mode says nothing; who made it decides where it leads."""
        strange = stat.S_ISLNK(status.st_mode) and status.st_uid not in {self.account.uid, 0}
        return f"owned by uid {status.st_uid} ({path})" if strange and self.check is not OwnerCheck.OFF else ""

    def _log(self, directory: Path, record: RunRecord) -> Iterator[str]:
        """A regular file of the user's, or nothing yet."""
        if not record.log:
            return
        path = _path_of(record.log, directory)
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            # A launch will make it there.
            there = next(one for one in path.parents if one.is_dir())
            yield self._judge(str(there), FileRole.PARENT, there.stat(), there)
            return
        if not stat.S_ISREG(status.st_mode) or is_of_kernel(status):
            yield f"its log is no regular file ({path})"
        yield self._judge(str(path), FileRole.RECORD, status, path)

    def _interpreter(self, record: RunRecord) -> Iterator[str]:
        """Named and made as an interpreter, and every link to it and folder of it is safe. One that is not there any
        more is no fault here: it can't be started, and a trainer can still be stopped."""
        found = shutil.which(record.python) if record.python and "/" not in record.python else record.python
        if not found:
            return
        path = _path_of(found)
        if not path.is_absolute():
            yield f"its Python is no absolute path ({record.python})"
            return
        names = [path.name]
        try:
            for _ in range(_MAX_LINKS):
                parent = path.parent
                yield self._judge(str(parent), FileRole.TOOL, parent.stat(), parent)
                status = path.lstat()
                if is_of_kernel(status) or not stat.S_ISLNK(status.st_mode):
                    break
                path = _path_of(os.readlink(path), parent)  # noqa: PTH115 - a path that is put together once
                names.append(path.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111 or is_of_kernel(status):
            yield f"its Python can't be run ({record.python})"
        if not any(_INTERPRETER.fullmatch(name) for name in names):
            yield f"its Python is no interpreter ({record.python})"
        yield self._judge(str(path), FileRole.TOOL, status, path)

    def _folder(self, path: Path) -> str:
        if not path.is_absolute():
            return f"the folder that it was started in is no absolute path ({path})"
        return self._judge(str(path), FileRole.TOOL, path.stat(), path) if path.is_dir() else ""

    def _judge(self, name: str, role: FileRole, status: os.stat_result, path: Path | None = None) -> str:
        if self._is_ours_alone(status):
            return ""
        mode = stat.S_IMODE(status.st_mode)
        acl = _access_list(path) if path is not None and mode & GROUP_MAY_WRITE else None
        entry = OwnedFile(
            name=name,
            role=role,
            uid=status.st_uid,
            gid=status.st_gid,
            mode=mode,
            acl=acl is not None,
            acl_users=_writers(acl, _ACL_USER),
            acl_groups=_writers(acl, _ACL_GROUP),
        )
        return fault_of(entry, self.account, self.check)


@lru_cache(maxsize=_RUNS_REMEMBERED)
def _places_of(directory: Path) -> tuple[Path, ...]:
    """The folders of a run that are looked through; the last is that of what rollbacks put aside."""
    layout = RunLayout(directory)
    return directory, layout.guard, layout.states, layout.weights, layout.archive


@lru_cache(maxsize=_RUNS_REMEMBERED)
def _parents_of(directory: Path, root: Path | None) -> Sequence[Path]:
    parents = directory.parents
    if root is None or root not in parents:
        return parents[:1]
    return parents[: len(parents) - len(root.parents)]


@lru_cache(maxsize=_RUNS_REMEMBERED)
def _path_of(text: str, folder: Path | None = None) -> Path:
    return folder / text if folder else Path(text)


def _is_below(path: str, folder: str) -> bool:
    """Whether a path lies in a folder, or is it, by their names alone."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _real(directory: Path) -> str:
    """The directory without links on the way to it, as the kernel finds it: in one go, where it tells."""
    try:
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (AttributeError, OSError):  # no Linux, or not there
        return os.path.realpath(directory)
    try:
        return _place_of(descriptor, directory)
    finally:
        os.close(descriptor)


def _place_of(descriptor: int, path: Path) -> str:
    """Where the open file lies: the name may lead elsewhere by now."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - for each file that is read
    except OSError:
        return os.path.realpath(path)


def _access_list(path: Path) -> bytes | None:
    """As the kernel keeps it; None where there is none."""
    try:
        return os.getxattr(path, _ACL) if _ACL in os.listxattr(path) else None
    except (OSError, AttributeError):
        return None


def _writers(acl: bytes | None, tag: int) -> frozenset[int]:
    """Who is named in the list as one that may write. Source: linux/posix_acl_xattr.h."""
    entries = struct.iter_unpack(_ACL_ENTRY, acl[4:]) if acl and len(acl) % 8 == 4 else ()
    return frozenset(id_ for kind, may, id_ in entries if kind == tag and may & _ACL_WRITE)
