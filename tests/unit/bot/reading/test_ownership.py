"""The border of a run directory, on real files of real strangers."""

from __future__ import annotations

import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.core.run.facts import RunRecord
from trainmaster.bot.core.run.ownership import OwnerCheck
from trainmaster.bot.reading.ownership import Ownership
from trainmaster.bot.reading.plain_files import open_plain
from trainmaster.bot.reading.run_files import RunReader
from trainmaster.trainer.contract import read_json

STRANGER = 4242
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


def planted(root: Path, **record: object) -> WrittenRun:
    run = WrittenRun(root)
    run.record(**{"python": sys.executable, **record})
    run.layout.weights.mkdir()
    (run.layout.weights / "last.pt").write_bytes(b"weights")
    run.layout.train_log.write_text("a line\n")
    return run


def why(run: WrittenRun, root: Path, check: OwnerCheck = OwnerCheck.USER) -> str:
    record = RunRecord.parse(read_json(run.layout.run_json) or {})
    return Ownership(check=check, root=root).fault(run.layout.root, record)


def give_away(path: Path) -> None:
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


def test_own_run_is_acted_upon(tmp_path: Path) -> None:
    assert why(planted(tmp_path), tmp_path) == ""


@as_root
@pytest.mark.parametrize(
    "part", [".", "guard", "guard/run.json", "guard/train.log", "weights", "weights/last.pt"], ids=str
)
def test_stranger_who_owns_any_part_makes_a_run_watched_only(tmp_path: Path, part: str) -> None:
    run = planted(tmp_path)
    give_away(run.layout.root / part)
    assert f"owned by uid {STRANGER}" in why(run, tmp_path)
    assert why(run, tmp_path, OwnerCheck.OFF) == ""


def gone_after_a_look(run: WrittenRun, root: Path) -> str:
    """Why a run is watched only that was looked at before its directory went."""
    reader = RunReader(run.layout.root, first_seen_ts=START_TS, ownership=Ownership(root=root))
    reader.read(START_TS)
    shutil.rmtree(run.layout.root)
    view = reader.read(START_TS + 1)
    assert view.record is not None
    return view.watched_only


def test_own_run_whose_directory_is_gone_is_still_acted_upon(tmp_path: Path) -> None:
    """It can be taken back from its copies."""
    assert gone_after_a_look(planted(tmp_path), tmp_path) == ""
    assert gone_after_a_look(planted(tmp_path / "disk" / "runs"), tmp_path / "disk") == ""


def test_run_that_was_watched_only_stays_so_when_its_directory_is_gone(tmp_path: Path) -> None:
    run = planted(tmp_path)
    run.layout.root.chmod(0o777)
    assert "everybody may write" in gone_after_a_look(run, tmp_path)


def test_surroundings_of_a_directory_that_is_gone_are_judged(tmp_path: Path) -> None:
    run = planted(tmp_path / "team")
    reader = RunReader(run.layout.root, first_seen_ts=START_TS, ownership=Ownership(root=tmp_path))
    reader.read(START_TS)
    shutil.rmtree(run.layout.root)
    (tmp_path / "team").chmod(0o777)
    assert "everybody may write" in reader.read(START_TS + 1).watched_only


@as_root
def test_stranger_who_owns_a_folder_above_makes_a_run_watched_only(tmp_path: Path) -> None:
    run = planted(tmp_path / "team" / "detect")
    give_away(tmp_path / "team")
    assert f"owned by uid {STRANGER} ({tmp_path / 'team'})" in why(run, tmp_path)


@as_root
def test_a_link_of_a_stranger_above_a_run_leads_the_bot_nowhere(tmp_path: Path) -> None:
    """In a folder like /tmp anybody may put a link to a folder of the bot's own user, and lead it elsewhere later."""
    root = tmp_path / "runs"
    root.mkdir()
    root.chmod(0o1777)
    run = planted(tmp_path / "own")
    (root / "team").symlink_to(tmp_path / "own")
    through = root / "team" / run.layout.root.name
    assert Ownership(root=root).fault(through, None) == ""
    give_away(root / "team")
    assert f"owned by uid {STRANGER} ({root / 'team'})" in Ownership(root=root).fault(through, None)
    assert Ownership(check=OwnerCheck.OFF, root=root).fault(through, None) == ""


@as_root
def test_stranger_above_the_runs_directory_is_the_operators_choice(tmp_path: Path) -> None:
    run = planted(tmp_path / "mounted" / "runs")
    give_away(tmp_path / "mounted")
    assert why(run, tmp_path / "mounted" / "runs") == ""


@pytest.mark.parametrize("part", [".", "guard", "guard/run.json", "weights/last.pt"], ids=str)
def test_what_everybody_may_write_to_is_watched_only(tmp_path: Path, part: str) -> None:
    run = planted(tmp_path)
    path = run.layout.root / part
    path.chmod(path.stat().st_mode | 0o002)
    assert "everybody may write" in why(run, tmp_path)
    assert "everybody may write" in why(run, tmp_path, OwnerCheck.GROUP)


@as_root
def test_project_group_may_write_where_that_is_set(tmp_path: Path) -> None:
    run = planted(tmp_path)
    run.layout.guard.chmod(0o2775)
    assert "group 0 may write" in why(run, tmp_path)
    assert why(run, tmp_path, OwnerCheck.GROUP) == ""
    os.chown(run.layout.guard, -1, STRANGER)
    assert f"group {STRANGER} may write" in why(run, tmp_path, OwnerCheck.GROUP)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _environment(path: Path) -> None:
    path.symlink_to("/proc/self/environ")


@pytest.mark.parametrize("make", [_fifo, _device, _environment])
@pytest.mark.parametrize("name", ["heartbeat.json", "events.jsonl", "train.log"])
def test_what_is_no_plain_file_is_neither_read_nor_trusted(
    tmp_path: Path, make: Callable[[Path], None], name: str
) -> None:
    run = planted(tmp_path)
    path = run.layout.guard / name
    path.unlink(missing_ok=True)
    make(path)
    assert why(run, tmp_path) != ""
    with pytest.raises(OSError, match=r"is not a regular file|kernel's own"):
        open_plain(path)
    reader = RunReader(run.layout.root, first_seen_ts=START_TS, ownership=Ownership(root=tmp_path))
    view = reader.read(START_TS)
    assert view.watched_only
    assert reader.log_tail() in {(), ("a line",)}


@as_root
def test_link_of_a_stranger_does_not_show_what_only_root_may_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("xoxb-secret\n")
    run = planted(tmp_path / "runs", log=str(secret))
    run.layout.train_log.unlink()
    run.layout.train_log.symlink_to(secret)
    for path in (run.layout.root, run.layout.guard, run.layout.run_json, run.layout.train_log):
        give_away(path)
    reader = RunReader(run.layout.root, first_seen_ts=START_TS, ownership=Ownership(root=tmp_path / "runs"))
    view = reader.read(START_TS)
    assert view.record is not None  # it is watched all the same
    assert view.watched_only.startswith(f"owned by uid {STRANGER}")
    assert reader.log_tail() == ()


@as_root
@pytest.mark.parametrize("way", ["the log", "its folder"])
def test_link_of_a_stranger_in_an_own_run_that_everybody_may_write_to_is_not_followed(tmp_path: Path, way: str) -> None:
    elsewhere = tmp_path / "private"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "train.log").write_text("xoxb-secret\n")
    run = planted(tmp_path / "runs")
    run.layout.root.chmod(0o777)
    run.layout.guard.chmod(0o777)
    link = run.layout.train_log
    if way == "the log":
        link.unlink()
        link.symlink_to(elsewhere / "train.log")
    else:
        link = run.layout.guard
        run.layout.guard.rename(tmp_path / "guard")
        link.symlink_to(elsewhere)
    give_away(link)
    reader = RunReader(run.layout.root, first_seen_ts=START_TS, ownership=Ownership(root=tmp_path / "runs"))
    assert reader.read(START_TS).watched_only
    assert reader.log_tail() == ()


def test_own_link_out_of_the_run_is_followed_unless_somebody_else_may_change_it(tmp_path: Path) -> None:
    (tmp_path / "scratch.log").write_text("a line\n")
    run = planted(tmp_path / "runs")
    run.layout.train_log.unlink()
    run.layout.train_log.symlink_to(tmp_path / "scratch.log")
    reader = RunReader(run.layout.root, first_seen_ts=START_TS, ownership=Ownership(root=tmp_path / "runs"))
    assert reader.log_tail() == ("a line",)
    run.layout.guard.chmod(0o777)
    assert reader.log_tail() == ()


@as_root
def test_run_file_of_a_stranger_in_an_own_directory_is_not_read(tmp_path: Path) -> None:
    run = planted(tmp_path)
    give_away(run.layout.run_json)
    view = RunReader(run.layout.root, first_seen_ts=START_TS, ownership=Ownership(root=tmp_path)).read(START_TS)
    assert view.record is None


def test_log_outside_the_run_must_be_a_plain_file_of_the_user(tmp_path: Path) -> None:
    outside = tmp_path / "nohup.out"
    outside.write_text("a line\n")
    assert why(planted(tmp_path / "runs", log=str(outside)), tmp_path / "runs") == ""
    outside.chmod(0o666)
    run = WrittenRun(tmp_path / "runs", "other")
    run.record(python=sys.executable, log=str(outside))
    assert "everybody may write" in why(run, tmp_path / "runs")


@pytest.mark.parametrize(
    ("python", "said"),
    [
        pytest.param("/usr/bin/touch", "no interpreter", id="another program"),
        pytest.param("bin/../bin/python3", "no absolute path", id="relative"),
        pytest.param("/proc/self/exe", "can't be run", id="whatever reads it"),
        pytest.param("{folder}/python-data", "can't be run", id="not executable"),
    ],
)
def test_python_of_a_run_must_be_an_interpreter(tmp_path: Path, python: str, said: str) -> None:
    (tmp_path / "python-data").write_text("data")
    run = planted(tmp_path / "runs", python=python.format(folder=tmp_path))
    assert said in why(run, tmp_path / "runs")


@pytest.mark.parametrize("what", ["file", "folder", "link's folder"])
def test_python_that_others_may_exchange_is_not_run(tmp_path: Path, what: str) -> None:
    real, links = tmp_path / "real", tmp_path / "links"
    real.mkdir()
    links.mkdir()
    (real / "python3.11").write_text("#!/bin/sh\n")
    (real / "python3.11").chmod(0o755)
    (links / "python").symlink_to(real / "python3.11")
    run = planted(tmp_path / "runs", python=str(links / "python"))
    assert why(run, tmp_path / "runs") == ""
    {"file": real / "python3.11", "folder": real, "link's folder": links}[what].chmod(0o777)
    assert "everybody may write" in why(run, tmp_path / "runs")


def test_missing_python_keeps_nobody_from_stopping_a_run(tmp_path: Path) -> None:
    assert why(planted(tmp_path / "runs", python=str(tmp_path / "gone" / "python")), tmp_path / "runs") == ""


def test_folder_where_everybody_may_put_code_is_not_started_in(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert "everybody may write" in why(planted(tmp_path / "runs", cwd=str(shared)), tmp_path / "runs")


def _let_write(path: Path, *named: tuple[int, int]) -> None:
    """An access list with these entries, kind and id, that may write."""
    nobody = 0xFFFFFFFF
    own = ((0x01, 7, nobody), (0x04, 5, nobody), (0x10, 7, nobody), (0x20, 5, nobody))
    packed = b"".join(struct.pack("<HHI", *one) for one in sorted((*own, *((kind, 7, id_) for kind, id_ in named))))
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    except OSError:
        pytest.skip("no access lists here")


@pytest.mark.parametrize(("kind", "told"), [(0x02, "uid"), (0x08, "group")])
def test_whom_an_access_list_lets_in_is_no_member_of_the_project(tmp_path: Path, kind: int, told: str) -> None:
    run = planted(tmp_path)
    _let_write(run.layout.guard, (kind, STRANGER))
    assert f"{told} {STRANGER} may write to it by an access list" in why(run, tmp_path, OwnerCheck.GROUP)
    assert "may write" in why(run, tmp_path)


def test_an_access_list_may_name_the_users_own_group(tmp_path: Path) -> None:
    run = planted(tmp_path)
    _let_write(run.layout.guard, (0x08, os.getegid()), (0x02, os.geteuid()))
    assert why(run, tmp_path, OwnerCheck.GROUP) == ""


@as_root
@pytest.mark.parametrize("part", [".", "digits", "digits/0001"])
def test_an_archive_that_a_stranger_made_is_none_of_the_run(tmp_path: Path, part: str) -> None:
    run = planted(tmp_path)
    place = run.layout.archive.parent / part
    place.mkdir(parents=True)
    assert why(run, tmp_path) == ""
    os.chown(place, STRANGER, STRANGER)
    assert f"owned by uid {STRANGER}" in why(run, tmp_path)
