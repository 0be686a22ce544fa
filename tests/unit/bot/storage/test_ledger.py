"""Acts and their entries in the audit log: both, in one order, whenever the bot is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainmaster.bot.errors import StoreError
from trainmaster.bot.storage.audit import AuditLog
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.ledger import Ledger


class Killed(BaseException):
    """As kill -9 does it: nothing after it runs."""


class Bot:
    """A life of the bot; a later one finds what it left."""

    def __init__(self, folder: Path) -> None:
        self.log = AuditLog(folder / "audit.jsonl")
        self.database = Database(folder / "state.db")
        self.ledger = Ledger(self.log, self.database, name_of=lambda run: "night" if run == "3f2a" else run)

    def act(self, number: int) -> None:
        with self.database.transaction():
            self.database.execute("INSERT INTO bot_state (name, value) VALUES (?, 'done')", (f"act {number}",))
            self.ledger.append("U0ANN", f"act {number}", "3f2a", {"outcome": "done"}, float(number))

    def done(self) -> list[str]:
        return [row["name"] for row in self.database.rows("SELECT name FROM bot_state ORDER BY name")]

    def told(self) -> list[str]:
        return [entry.action for entry in self.log.entries(100)]


def cut_off(bot: Bot, number: int) -> None:
    """Ended before the commit."""
    with bot.database.transaction():
        bot.ledger.append("U0ANN", f"act {number}", "night", {}, float(number))
        raise Killed


def test_an_act_and_its_entry_are_there_together_and_name_the_run(tmp_path: Path) -> None:
    bot = Bot(tmp_path)
    bot.act(1)
    (entry,) = bot.log.entries()
    assert (entry.action, entry.subject, entry.detail["run"]) == ("act 1", "night", "3f2a")
    assert bot.done() == bot.told()
    assert bot.log.verify().intact


def test_an_act_that_was_rolled_back_is_not_told(tmp_path: Path) -> None:
    bot = Bot(tmp_path)
    with pytest.raises(Killed):
        cut_off(bot, 1)
    bot.act(2)
    assert bot.done() == bot.told() == ["act 2"]


@pytest.mark.parametrize("moment", ["before the commit", "before the file", "before the row is gone"])
def test_a_kill_at_any_moment_leaves_acts_and_entries_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    bot = Bot(tmp_path)
    bot.act(1)

    def killed(*_: object) -> None:
        raise Killed

    append = bot.log.append

    def last_words(*words: object) -> None:
        append(*words)  # type: ignore[arg-type]
        raise Killed

    with monkeypatch.context() as patch:
        if moment != "before the commit":
            patch.setattr(bot.log, "append", killed if moment == "before the file" else last_words)
        act = cut_off if moment == "before the commit" else Bot.act
        with pytest.raises(Killed):
            act(bot, 2)
    bot.database.close()

    again = Bot(tmp_path)
    again.ledger.settle()
    assert again.done() == again.told() == (["act 1"] if moment == "before the commit" else ["act 1", "act 2"])
    again.act(3)
    assert again.done() == again.told()
    assert again.log.verify().intact


def test_what_cannot_be_written_now_is_refused_before_the_act_and_an_outcome_is_kept(tmp_path: Path) -> None:
    bot = Bot(tmp_path)
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(StoreError, match=r"audit\.jsonl"):
        bot.act(1)
    assert bot.done() == []
    with bot.database.transaction():
        bot.database.execute("INSERT INTO bot_state (name, value) VALUES ('rollback.end', 'done')")
        bot.ledger.append_once("U0ANN", "rollback.end", "night", {"operation": "a"}, 2.0)
    with pytest.raises(StoreError):
        bot.ledger.settle()
    (tmp_path / "audit.jsonl").rmdir()
    bot.ledger.settle()
    assert bot.done() == bot.told() == ["rollback.end"]


def test_an_outcome_is_told_once_however_often_it_is_committed(tmp_path: Path) -> None:
    bot = Bot(tmp_path)
    for _ in range(3):
        with bot.database.transaction():
            bot.ledger.append_once("U0ANN", "rollback.end", "night", {"operation": "a"}, 2.0)
            bot.ledger.append_once("U0ANN", "rollback.end", "night", {"operation": "a"}, 2.0)
    assert bot.told() == ["rollback.end"]


def test_without_a_transaction_it_stands_before_the_call_returns_after_what_was_committed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = Bot(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(bot.ledger, "_settle_quietly", lambda: None)
        bot.database._after_commit.clear()
        bot.act(1)
    assert bot.told() == []
    bot.ledger.append("U0ANN", "act 2", "night", {}, 2.0)
    assert bot.told() == ["act 1", "act 2"]


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_done_although_the_file_took_nothing_is_told_when_it_does(tmp_path: Path, restarted: bool) -> None:
    bot = Bot(tmp_path)
    bot.act(1)
    place, kept = tmp_path / "audit.jsonl", tmp_path / "kept"
    place.rename(kept)
    place.mkdir()
    with bot.database.transaction():
        bot.database.execute("INSERT INTO bot_state (name, value) VALUES ('act 2', 'done')")
        with pytest.raises(StoreError):
            bot.ledger.append("U0ANN", "act 2", "3f2a", {}, 2.0)
        bot.ledger.append_later("U0ANN", "act 2", "3f2a", {}, 2.0)
    bot.ledger.append_later("U0ANN", "act 3", "3f2a", {}, 3.0)
    with pytest.raises(StoreError):
        bot.ledger.settle()
    place.rmdir()
    kept.rename(place)
    if restarted:
        bot.database.close()
        bot = Bot(tmp_path)
    bot.ledger.settle()
    assert bot.told() == ["act 1", "act 2", "act 3"]
    assert bot.log.verify().intact
