"""One bot a state directory; one that can't be written is no reason not to watch."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trainmaster.bot.errors import StoreError
from trainmaster.bot.service.state_dir import lock


def test_second_bot_is_refused_and_told_whose_it_is(tmp_path: Path) -> None:
    descriptor = lock(tmp_path / "state")
    assert descriptor is not None
    with pytest.raises(StoreError, match=f"another Trainmaster \\(pid {os.getpid()}\\)"):
        lock(tmp_path / "state")
    os.close(descriptor)
    again = lock(tmp_path / "state")
    assert again is not None
    os.close(again)


def test_disk_without_locks_is_told_for_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(StoreError, match="can't be locked"):
        lock(tmp_path / "state")


def test_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StoreError, match="can't be used"):
        lock(tmp_path / "state")


@pytest.mark.parametrize("used", [True, False], ids=["used before", "never used"])
def test_read_only_directory_is_locked_if_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    if used:
        (tmp_path / "lock").touch()
    real = os.open

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    descriptor = lock(tmp_path)
    assert (descriptor is not None) is used
    if descriptor is not None:
        with pytest.raises(StoreError, match="another Trainmaster"):
            lock(tmp_path)
        os.close(descriptor)


def test_nobody_else_reads_or_writes_the_state(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "launches").mkdir(parents=True, mode=0o755)
    (state / "audit.jsonl").write_text("")
    (state / "audit.jsonl").chmod(0o644)
    outside = tmp_path / "outside"
    outside.write_text("")
    outside.chmod(0o644)
    (state / "link").symlink_to(outside)
    descriptor = lock(state)
    assert descriptor is not None
    os.close(descriptor)
    modes = {path.name: path.lstat().st_mode & 0o777 for path in (state, *state.iterdir()) if not path.is_symlink()}
    assert modes == {"state": 0o700, "launches": 0o700, "audit.jsonl": 0o600, "lock": 0o600}
    assert outside.stat().st_mode & 0o777 == 0o644
