"""Pictures join messages that stand already; whatever goes wrong, the message stays and nothing comes twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.support.clocks import SetClock
from tests.support.worlds import FakeRuns
from trainmaster.bot.alerting.pictures import RETRY_S, TOO_LATE_S, Pictures
from trainmaster.bot.core.conversation.message import Message
from trainmaster.bot.core.conversation.picture import NO_DRAWING, Drawn, Picture, Sketch
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import ChatError, OperationError
from trainmaster.bot.ports import ChatRefused, Posted
from trainmaster.bot.storage.database import Database
from trainmaster.bot.storage.messages import MessageStore
from trainmaster.bot.storage.pictures import PictureStore

NOW = 1_700_000_000.0
KEY = "digits/nonfinite/attempt1/epoch4"
SKETCH = Sketch(run="digits", epoch=4, incident="0001")
VIEW = RunView(directory=Path("runs/digits"), name="digits", ts=NOW, first_seen_ts=NOW)


@dataclass
class Studio:
    """Draws two pictures, and keeps what was uploaded; ``faults`` come first."""

    faults: list[Exception] = field(default_factory=list)
    num_drawn: int = 0
    uploaded: list[str] = field(default_factory=list)
    upload_faults: list[Exception] = field(default_factory=list)

    async def draw(self, view: RunView, sketch: Sketch) -> tuple[Drawn, ...]:
        self.num_drawn += 1
        if self.faults:
            raise self.faults.pop(0)
        return (
            Drawn(name="curves.png", content=b"1", alt="curves"),
            Drawn(name="sheet.png", content=b"2", alt="sheet"),
        )

    async def upload(self, name: str, content: bytes, alt: str) -> str:
        if self.upload_faults:
            raise self.upload_faults.pop(0)
        self.uploaded.append(name)
        return f"F{len(self.uploaded)}"


class Wall:
    """A store of messages, and what makes their pictures."""

    def __init__(self) -> None:
        self.clock = SetClock(NOW)
        self.database = Database(Path(":memory:"))
        self.messages = MessageStore(self.database, self.clock.now)
        self.book = PictureStore(self.database)
        self.studio = Studio()
        self.runs = FakeRuns([VIEW])
        self.refused: set[str] = set()
        self.able = True
        self.pictures = self.new_pictures()
        self.messages.put(KEY, Message(title="digits: loss is not finite"))
        self.send()

    def new_pictures(self) -> Pictures:
        return Pictures(
            book=self.book,
            runs=self.runs,
            drawer=self.studio,
            uploads=self.studio,
            refused=self.refused.__contains__,
            clock=self.clock,
            notify=lambda: None,
            able=lambda: self.able,
        )

    def send(self) -> list[Message]:
        """Slack takes everything that waits."""
        sent = []
        for one in self.messages.pending(self.clock.now()):
            sent.append(one.message)
            self.messages.mark_sent(one.key, one.version, Posted(channel="C1", ts="1.0"))
        return sent

    async def pass_s(self, seconds: float) -> list[Message]:
        self.clock.ts += seconds
        await self.pictures.tick()
        return self.send()


@pytest.fixture
def wall() -> Iterator[Wall]:
    made = Wall()
    yield made
    made.database.close()


FILES = (Picture(file="F1", alt="curves"), Picture(file="F2", alt="sheet"))


async def test_a_message_is_edited_to_show_its_pictures_once(wall: Wall) -> None:
    wall.book.want(KEY, SKETCH, NOW)
    (shown,) = await wall.pass_s(1)
    assert (shown.title, shown.pictures) == ("digits: loss is not finite", FILES)
    assert await wall.pass_s(60) == []
    assert wall.studio.num_drawn == 1


async def test_pictures_stay_when_the_message_is_edited(wall: Wall) -> None:
    wall.book.want(KEY, SKETCH, NOW)
    await wall.pass_s(1)
    wall.messages.put(KEY, Message(title="digits: healthy again"))
    (edited,) = wall.send()
    assert (edited.title, edited.pictures) == ("digits: healthy again", FILES)


async def test_what_was_wanted_before_a_kill_is_drawn_after_it(wall: Wall) -> None:
    wall.book.want(KEY, SKETCH, NOW)
    wall.pictures = wall.new_pictures()
    (shown,) = await wall.pass_s(1)
    assert shown.pictures == FILES


async def test_a_kill_after_the_upload_shows_the_pictures_once(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise SystemExit

    wall.book.want(KEY, SKETCH, NOW)
    monkeypatch.setattr(wall.book, "attach", killed)
    with pytest.raises(SystemExit):
        await wall.pictures.tick()
    monkeypatch.undo()
    wall.pictures = wall.new_pictures()
    (shown,) = await wall.pass_s(1)
    assert [one.file for one in shown.pictures] == ["F3", "F4"]
    assert await wall.pass_s(60) == []


async def test_an_upload_that_fails_for_now_is_tried_again(wall: Wall) -> None:
    wall.studio.upload_faults = [ChatError("slack-unreachable", "reset")]
    wall.book.want(KEY, SKETCH, NOW)
    assert await wall.pass_s(1) == []
    assert await wall.pass_s(1) == []
    (shown,) = await wall.pass_s(RETRY_S[0])
    assert shown.pictures == FILES


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(OperationError("trainer-command", "took longer than 60 s"), id="slow"),
        pytest.param(OperationError(NO_DRAWING, "no matplotlib"), id="no matplotlib"),
    ],
)
async def test_what_cannot_be_drawn_leaves_the_message_as_it_is(wall: Wall, fault: Exception) -> None:
    wall.studio.faults = [fault]
    wall.book.want(KEY, SKETCH, NOW)
    assert await wall.pass_s(1) == []
    assert await wall.pass_s(TOO_LATE_S) == []
    assert wall.studio.num_drawn == 1


async def test_a_python_without_matplotlib_is_left_alone_for_a_while(wall: Wall) -> None:
    wall.studio.faults = [OperationError(NO_DRAWING, "no matplotlib")]
    for number in range(5):
        wall.book.want(f"{KEY}{number}", SKETCH, wall.clock.now())
        await wall.pass_s(1)
    assert wall.studio.num_drawn == 1


async def test_an_upload_that_is_refused_for_good_is_not_tried_again(wall: Wall) -> None:
    wall.studio.upload_faults = [ChatRefused("slack-scope", "missing_scope")]
    for number in range(3):
        wall.book.want(f"{KEY}{number}", SKETCH, wall.clock.now())
        assert await wall.pass_s(1) == []
    assert wall.studio.num_drawn == 1


async def test_without_the_permission_nothing_is_drawn(wall: Wall) -> None:
    wall.able = False
    wall.book.want(KEY, SKETCH, NOW)
    assert await wall.pass_s(1) == []
    assert wall.studio.num_drawn == 0


@pytest.mark.parametrize("runs", [[], [replace(VIEW, watched_only="owned by uid 7")]], ids=["gone", "watched only"])
async def test_a_run_that_is_gone_or_of_others_gets_no_picture(wall: Wall, runs: list[RunView]) -> None:
    wall.runs.views = runs
    wall.book.want(KEY, SKETCH, NOW)
    assert await wall.pass_s(1) == []
    assert wall.studio.num_drawn == 0


async def test_a_picture_of_long_ago_is_not_drawn(wall: Wall) -> None:
    wall.book.want(KEY, SKETCH, NOW)
    assert await wall.pass_s(TOO_LATE_S + 1) == []
    assert wall.studio.num_drawn == 0


async def test_a_file_that_slack_has_not_looked_at_yet_is_shown_later(wall: Wall) -> None:
    wall.book.want(KEY, SKETCH, NOW)
    await wall.pass_s(1)
    wall.refused.add("F1")
    (again,) = await wall.pass_s(5)
    assert again.pictures == FILES
    wall.refused.clear()
    assert await wall.pass_s(5) == []
    wall.refused.add("F1")
    assert await wall.pass_s(5) == []


async def test_a_file_that_slack_never_shows_is_given_up(wall: Wall) -> None:
    wall.book.want(KEY, SKETCH, NOW)
    await wall.pass_s(1)
    wall.refused.add("F2")
    assert [len(await wall.pass_s(5)) for _ in range(8)] == [1, 1, 1, 1, 1, 0, 0, 0]


async def test_a_row_that_cannot_be_read_is_no_picture(wall: Wall) -> None:
    wall.book.want(KEY, SKETCH, NOW)
    wall.database.execute("UPDATE sketches SET wanted = ?", ("{torn",))
    wall.database.execute("UPDATE messages SET pictures = ?, desired_version = 9", ("[3]",))
    (shown,) = await wall.pass_s(1)
    assert shown.pictures == ()
    assert list(wall.database.rows("SELECT * FROM sketches")) == []
