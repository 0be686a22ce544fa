"""Who may write to what the bot acts upon."""

from __future__ import annotations

import pytest

from trainmaster.bot.core.run.ownership import (
    GROUP_MAY_WRITE,
    WORLD_MAY_WRITE,
    Account,
    FileRole,
    OwnedFile,
    OwnerCheck,
    fault_of,
)

ME = Account(uid=1000, groups=frozenset({1000, 50}), private_gid=1000)
ROOT = Account(uid=0, groups=frozenset({0}))


def entry(
    role: FileRole = FileRole.RECORD, *, uid: int = 1000, gid: int = 7, mode: int = 0o644, acl: bool = False
) -> OwnedFile:
    return OwnedFile(name="guard/run.json", role=role, uid=uid, gid=gid, mode=mode, acl=acl)


@pytest.mark.parametrize(
    ("one", "check"),
    [
        pytest.param(entry(), OwnerCheck.USER, id="own"),
        pytest.param(entry(mode=0o664, gid=1000), OwnerCheck.USER, id="own private group"),
        pytest.param(entry(mode=0o664, gid=50), OwnerCheck.GROUP, id="project group"),
        pytest.param(entry(FileRole.PARENT, uid=0, mode=0o755), OwnerCheck.USER, id="root's parent"),
        pytest.param(entry(FileRole.PARENT, uid=0, mode=0o1777), OwnerCheck.USER, id="sticky parent"),
        pytest.param(entry(FileRole.PARENT, uid=5, gid=50, mode=0o2770), OwnerCheck.GROUP, id="project's parent"),
        pytest.param(entry(FileRole.TOOL, uid=0, mode=0o775), OwnerCheck.USER, id="root's tool and its staff"),
        pytest.param(entry(uid=5, mode=0o666), OwnerCheck.OFF, id="nothing is checked"),
    ],
)
def test_what_nobody_else_can_change_is_acted_upon(one: OwnedFile, check: OwnerCheck) -> None:
    assert fault_of(one, ME, check) == ""


@pytest.mark.parametrize("check", OwnerCheck)
@pytest.mark.parametrize("role", FileRole)
def test_what_only_its_own_user_may_write_to_is_never_a_fault(role: FileRole, check: OwnerCheck) -> None:
    """The border asks no more of such a file (bot/reading/ownership.py), whatever else its mode says."""
    modes = [mode for mode in range(0o10000) if not mode & (GROUP_MAY_WRITE | WORLD_MAY_WRITE)]
    for account in (ME, ROOT):
        told = {fault_of(entry(role, uid=account.uid, mode=mode), account, check) for mode in modes}
        assert told == {""}


@pytest.mark.parametrize(
    ("one", "check", "why"),
    [
        pytest.param(entry(uid=5), OwnerCheck.USER, "owned by uid 5", id="a stranger's"),
        pytest.param(entry(uid=5, gid=50), OwnerCheck.GROUP, "owned by uid 5", id="a stranger's of the group"),
        pytest.param(entry(uid=0), OwnerCheck.USER, "owned by uid 0", id="root's record"),
        pytest.param(entry(mode=0o646), OwnerCheck.USER, "everybody", id="world"),
        pytest.param(entry(mode=0o646), OwnerCheck.GROUP, "everybody", id="world, group check"),
        pytest.param(entry(mode=0o664), OwnerCheck.USER, "group 7", id="foreign group"),
        pytest.param(entry(mode=0o664), OwnerCheck.GROUP, "group 7", id="foreign group, group check"),
        pytest.param(entry(mode=0o664, gid=50), OwnerCheck.USER, "group 50", id="project group, user check"),
        pytest.param(entry(mode=0o664, gid=1000, acl=True), OwnerCheck.USER, "group 1000", id="access list"),
        pytest.param(entry(FileRole.PARENT, uid=5), OwnerCheck.USER, "owned by uid 5", id="stranger's parent"),
        pytest.param(entry(FileRole.PARENT, mode=0o777), OwnerCheck.GROUP, "everybody", id="open parent"),
        pytest.param(
            entry(FileRole.TOOL, mode=0o1777), OwnerCheck.USER, "everybody", id="sticky is not enough for code"
        ),
        pytest.param(entry(FileRole.TOOL, mode=0o775), OwnerCheck.USER, "group 7", id="tool of a foreign group"),
    ],
)
def test_what_a_stranger_may_change_is_only_watched(one: OwnedFile, check: OwnerCheck, why: str) -> None:
    assert why in fault_of(one, ME, check)


def test_root_has_no_private_group() -> None:
    assert "group 0" in fault_of(entry(uid=0, gid=0, mode=0o664), ROOT, OwnerCheck.USER)
    assert fault_of(entry(uid=0, gid=0, mode=0o664), ROOT, OwnerCheck.GROUP) == ""
