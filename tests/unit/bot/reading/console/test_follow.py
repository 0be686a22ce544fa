from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.bot.reading.log_texts import frame, start
from tests.unit.bot.reading.scan.test_endings import ENDINGS, HARMLESS
from tests.unit.bot.reading.scan.test_skim import PIECES
from trainmaster.bot.reading.console.facts import ConsoleFact, Header, TrainFrame
from trainmaster.bot.reading.console.follow import ConsoleFollower
from trainmaster.bot.reading.console.reader import ConsoleReader
from trainmaster.bot.reading.tail import TailNote


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


ALL_PIECES = [
    *PIECES.values(),
    *(end for end, _, _ in ENDINGS.values()),
    *(f"\n{text}\n" for text in HARMLESS.values()),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(ALL_PIECES), min_size=1, max_size=12), st.lists(st.floats(0, 1), max_size=20))
def test_a_log_that_is_followed_says_what_it_says_as_a_whole(
    tmp_path: Path, pieces: list[str], shares: list[float]
) -> None:
    log = tmp_path / "train.log"
    whole = "".join(pieces).encode()
    follower = ConsoleFollower(log)
    log.write_bytes(b"")
    facts: list[ConsoleFact] = []
    for begin, end in pairwise(sorted({0, len(whole), *(int(share * len(whole)) for share in shares)})):
        with log.open("ab") as stream:
            stream.write(whole[begin:end])
        facts += follower.look().facts
    at_once = ConsoleReader()
    assert repr([*facts, *follower._reader.finish()]) == repr([*at_once.feed(whole), *at_once.finish()])
