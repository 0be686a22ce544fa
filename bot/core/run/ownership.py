"""Whose a file is, and whether a stranger may change it: the decision, without looking at any disk.

A run directory says which interpreter to run, which process to signal and which file to show. Whoever may write there
speaks with the bot's own voice, so only what belongs to its user, and to nobody else, is acted upon.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

WORLD_MAY_WRITE: Final = 0o002
GROUP_MAY_WRITE: Final = 0o020
STICKY: Final = 0o1000
"""In such a folder (/tmp) everybody may make entries, and only their owner may take one away."""


TO_ACT: Final = "run the bot as the user that trains; OWNER_CHECK=group trusts a project group"
"""What to do about a run that is watched only for its owner."""


class OwnerCheck(StrEnum):
    """``OWNER_CHECK``: who else may write to a run that the bot acts on."""

    USER = "user"
    """Nobody but its own user (whose private group counts as the user)."""
    GROUP = "group"
    """The members of a group that the bot's user is in: a project group on a cluster."""
    OFF = "off"
    """Owners are not looked at: for file systems without any."""


class FileRole(StrEnum):
    """What an entry is for, which decides who may own it."""

    RECORD = "record"
    """The run directory and what lies in it: the bot's own user's."""
    PARENT = "parent"
    """A folder above it: nobody may exchange what is below."""
    TOOL = "tool"
    """The interpreter and the folder that it starts in: the user's or root's; nobody may add code there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedFile:
    """One file or folder as ``stat`` tells it. ``name`` is how people are told of it; empty for the run directory.
    ``acl``: an access list beyond the mode may let others write; ``acl_users`` and ``acl_groups`` are whom it names."""

    name: str
    role: FileRole
    uid: int
    gid: int
    mode: int
    acl: bool = False
    acl_users: frozenset[int] = frozenset()
    acl_groups: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The bot's own user. ``private_gid`` is its group of one, where it has such a group."""

    uid: int
    groups: frozenset[int]
    private_gid: int | None = None


def fault_of(entry: OwnedFile, account: Account, check: OwnerCheck) -> str:
    """Why the bot must not act upon what ``entry`` says; empty when it may."""
    if check is OwnerCheck.OFF:
        return ""
    where = f" ({entry.name})" if entry.name else ""
    of_project = check is OwnerCheck.GROUP and entry.gid in account.groups
    owners = {account.uid} if entry.role is FileRole.RECORD else {account.uid, 0}
    if entry.uid not in owners and not (entry.role is FileRole.PARENT and of_project):
        return f"owned by uid {entry.uid}{where}"
    if entry.role is FileRole.PARENT and entry.mode & STICKY:
        return ""
    if entry.mode & WORLD_MAY_WRITE:
        return f"everybody may write to it{where}"
    if not entry.mode & GROUP_MAY_WRITE:
        return ""
    if of_project:
        users, groups = entry.acl_users - {account.uid, 0}, entry.acl_groups - account.groups
        listed = next((f"{kind} {min(ids)}" for kind, ids in (("uid", users), ("group", groups)) if ids), "")
        return f"{listed} may write to it by an access list{where}" if listed else ""
    if entry.role is FileRole.TOOL and entry.uid == 0:  # who may install software is root's to say
        return ""
    if entry.gid == account.private_gid and not entry.acl:
        return ""
    return f"group {entry.gid} may write to it{where}"
