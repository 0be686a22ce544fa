from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from trainmaster.bot.service.lease import BEAT_S, GONE_S, NAME, Holder, Lease, _myself


class Steady:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def elsewhere(name: str) -> Holder:
    return Holder(id=name, host=name, boot=f"boot of {name}", pids="pid:[1]", pid=7, started="1")


@pytest.fixture
def steady() -> Steady:
    return Steady()


def test_the_first_bot_acts_and_the_second_only_watches(tmp_path: Path, steady: Steady) -> None:
    first = Lease(tmp_path, monotonic=steady, me=elsewhere("one"))
    second = Lease(tmp_path, monotonic=steady, me=elsewhere("two"))
    assert first.keep() == ""
    for _ in range(50):
        assert "pid 7 on one" in second.keep()
        steady.now_s += BEAT_S
        assert first.keep() == ""


def test_the_second_takes_over_when_the_first_one_is_seen_no_more(tmp_path: Path, steady: Steady) -> None:
    Lease(tmp_path, monotonic=steady, me=elsewhere("one")).keep()
    second = Lease(tmp_path, monotonic=steady, me=elsewhere("two"))
    second.keep()
    acts_after_s = 0.0
    while second.keep():
        steady.now_s += BEAT_S
        acts_after_s += BEAT_S
    assert GONE_S <= acts_after_s <= GONE_S + 2 * BEAT_S


def test_one_that_was_away_and_comes_back_finds_the_other_and_only_watches(tmp_path: Path, steady: Steady) -> None:
    first = Lease(tmp_path, monotonic=steady, me=elsewhere("one"))
    first.keep()
    second = Lease(tmp_path, monotonic=steady, me=elsewhere("two"))
    for _ in range(10):
        second.keep()
        steady.now_s += BEAT_S
    assert second.why_not() == ""
    assert first.why_not() != ""  # before it has read anything: its own lease ran out
    assert "on two" in first.keep()


def test_of_two_that_take_over_at_once_only_one_acts(tmp_path: Path, steady: Steady) -> None:
    Lease(tmp_path, monotonic=steady, me=elsewhere("one")).keep()
    others = [Lease(tmp_path, monotonic=steady, me=elsewhere(name)) for name in ("two", "three")]
    acting = []
    for _ in range(20):
        for one in others:
            one.keep()
        acting.append([not one.why_not() for one in others])
        steady.now_s += BEAT_S
    assert [True, True] not in acting
    assert sum(acting[-1]) == 1


def test_a_killed_neighbour_is_known_to_be_gone_at_once(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from trainmaster.bot.service.lease import Lease; Lease(pathlib.Path(sys.argv[1])).keep()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    assert (tmp_path / NAME).exists()
    assert Lease(tmp_path).keep() == ""


def test_a_pid_of_another_container_tells_nothing(tmp_path: Path, steady: Steady) -> None:
    here = _myself()
    dead = replace(here, id="x", pids="pid:[999]", pid=2**22 - 1, started="1")
    Lease(tmp_path, monotonic=steady, me=dead).keep()
    assert Lease(tmp_path, monotonic=steady).keep() != ""


def test_a_clean_end_leaves_no_lease_and_another_ones_stays(tmp_path: Path, steady: Steady) -> None:
    first = Lease(tmp_path, monotonic=steady, me=elsewhere("one"))
    second = Lease(tmp_path, monotonic=steady, me=elsewhere("two"))
    first.keep()
    second.release()
    assert second.keep() != ""
    first.release()
    assert second.keep() == ""


def test_rubbish_in_place_of_a_lease_is_outwaited(tmp_path: Path, steady: Steady) -> None:
    (tmp_path / NAME).write_bytes(b"\xff{")
    lease = Lease(tmp_path, monotonic=steady, me=elsewhere("one"))
    assert lease.keep() != ""
    for _ in range(10):
        steady.now_s += BEAT_S
        lease.keep()
    assert lease.why_not() == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written_is_as_before(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    assert Lease(tmp_path).keep() == ""
    tmp_path.chmod(0o755)


def test_a_directory_that_vanished_and_came_back_with_another_holder_is_left_to_it(
    tmp_path: Path, steady: Steady
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    lease = Lease(runs, monotonic=steady, me=elsewhere("one"))
    assert lease.keep() == ""
    runs.rename(tmp_path / "unmounted")
    steady.now_s += GONE_S
    assert "is not there" in lease.keep()
    assert lease.away
    (tmp_path / "unmounted").rename(runs)
    Lease(runs, monotonic=steady, me=elsewhere("two"))._replace()
    assert "on two" in lease.keep()
    assert "on two" in lease.other()


def test_a_directory_that_is_not_there_yet_makes_nobody_its_holder(tmp_path: Path, steady: Steady) -> None:
    lease = Lease(tmp_path / "runs", monotonic=steady, me=elsewhere("one"))
    assert lease.keep() != ""
    assert lease.other() == ""
    (tmp_path / "runs").mkdir()
    assert lease.keep() == ""


def test_one_that_stood_still_while_it_renewed_acts_only_after_the_other_had_time_to_object(
    tmp_path: Path, steady: Steady
) -> None:
    first = Lease(tmp_path, monotonic=steady, me=elsewhere("one"))
    second = Lease(tmp_path, monotonic=steady, me=elsewhere("two"))
    first.keep()
    second.keep()
    steady.now_s += GONE_S
    second.keep()  # takes it, as nobody renewed it
    first._replace()  # what the first one was about to write when it was stopped
    assert first.keep() != ""
    assert second.keep() != ""
    acting = []
    for _ in range(20):
        steady.now_s += BEAT_S
        first.keep()
        second.keep()
        acting.append([not first.why_not(), not second.why_not()])
    assert [True, True] not in acting
    assert sum(acting[-1]) == 1


@pytest.mark.parametrize("kind", ["pipe", "link", "deep", "loud"])
def test_what_others_put_in_place_of_a_lease_neither_hangs_nor_speaks(
    tmp_path: Path, steady: Steady, kind: str
) -> None:
    path = tmp_path / NAME
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    elif kind == "deep":
        path.write_text("[" * 9_000)
    else:
        record = {"id": "x", "host": "\u202e<!channel>\n" + "h" * 3_000, "boot": "b", "pids": "p", "pid": 1}
        path.write_text(json.dumps({**record, "started": "1"}))
    lease = Lease(tmp_path, monotonic=steady, me=elsewhere("one"))
    why = lease.keep()
    assert "another Trainmaster" in why
    assert len(why) < 300
    assert why.isprintable()


@pytest.mark.parametrize(
    ("one", "two", "told"), [("app in #a", "app in #a", True), ("app in #a", "app in #b", False), ("", "", False)]
)
def test_the_one_that_watches_knows_whether_the_holder_tells_the_same_people(
    tmp_path: Path, steady: Steady, one: str, two: str, told: bool
) -> None:
    first = Lease(tmp_path, monotonic=steady, me=replace(elsewhere("one"), tells=one))
    second = Lease(tmp_path, monotonic=steady, me=replace(elsewhere("two"), tells=two))
    first.keep()
    second.keep()
    assert (first.told_by_other(), second.told_by_other()) == (False, told)
    first.release()
    assert second.keep() == ""
    assert not second.told_by_other()


def _ours_but(**changes: object) -> str:
    return json.dumps({**asdict(_myself()), "id": "stranger", **changes})


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(_ours_but(pid="../../tmp/pipe"), id="a pid that is a path"),
        pytest.param(_ours_but(pid="7\0"), id="a pid that is no path"),
        pytest.param(_ours_but(beat=float("nan")), id="a beat that never equals itself"),
        pytest.param(_ours_but(host=["a"]), id="a list for a host"),
        pytest.param("[" * 5000, id="deep"),
        pytest.param("", id="empty"),
    ],
)
def test_what_no_bot_wrote_is_taken_over_when_it_does_not_change(tmp_path: Path, steady: Steady, planted: str) -> None:
    (tmp_path / NAME).write_text(planted)
    lease = Lease(tmp_path, monotonic=steady)
    for _ in range(int(GONE_S / BEAT_S) + 3):
        lease.keep()
        steady.now_s += BEAT_S
    assert lease.why_not() == ""
    assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_a_folder_in_the_place_of_the_lease_is_put_aside(tmp_path: Path, steady: Steady) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "kept").touch()
    lease = Lease(tmp_path, monotonic=steady)
    for _ in range(int(GONE_S / BEAT_S) + 4):
        with contextlib.suppress(IsADirectoryError):
            lease.keep()
        steady.now_s += BEAT_S
    assert lease.why_not() == ""
    assert [one.name for one in tmp_path.glob("*.aside-*/*")] == ["kept"]


def test_a_lease_that_cannot_be_read_makes_nobody_act_beside_its_holder(
    tmp_path: Path, steady: Steady, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lease(tmp_path, monotonic=steady, me=elsewhere("one")).keep()

    def forbidden(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("trainmaster.bot.service.lease._plain_bytes", forbidden)
    second = Lease(tmp_path, monotonic=steady, me=elsewhere("two"))
    for _ in range(20):
        assert second.keep() != ""
        steady.now_s += BEAT_S
        (tmp_path / NAME).touch()  # its holder lives


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_takes_the_lease_from_nobody(
    tmp_path: Path, steady: Steady, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    first, second = (Lease(tmp_path, monotonic=steady, me=elsewhere(name)) for name in ("one", "two"))
    first.keep()
    second.keep()

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("trainmaster.bot.service.lease.os.fchmod", lambda *_: full(0))
    for _ in range(20):
        steady.now_s += BEAT_S
        assert first.keep() == ""
        assert "on one" in second.keep()
    assert [one.name for one in tmp_path.iterdir()] == [NAME]
