from __future__ import annotations

from pathlib import Path

from bot.reading.console_facts import Header, TrainFrame
from bot.reading.console_follow import ConsoleFollower
from bot.reading.tail import TailNote
from tests.unit.bot.reading.log_texts import frame, start


def append(path: Path, text: str) -> None:
    with path.open("ab") as stream:
        stream.write(text.encode())


def test_only_new_facts_are_told(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    follower = ConsoleFollower(log)
    assert follower.look().note is TailNote.MISSING
    append(log, start() + frame(1, 1) + frame(1, 2))
    assert [fact.batch for fact in follower.look().facts if isinstance(fact, TrainFrame)] == [1]
    append(log, frame(1, 3))
    assert [fact.batch for fact in follower.look().facts if isinstance(fact, TrainFrame)] == [2]
    assert follower.look().note is TailNote.UNCHANGED


def test_a_replaced_log_is_read_with_nothing_left_of_the_old(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    follower = ConsoleFollower(log)
    append(log, start() + frame(1, 1) + frame(1, 2) + frame(1, 3)[:40])
    follower.look()
    log.write_text("\n" + start(losses=("loss",)))
    look = follower.look()
    assert look.note is TailNote.TRUNCATED
    assert [fact.losses for fact in look.facts if isinstance(fact, Header)] == [("loss",)]
