from __future__ import annotations

import pytest

from trainmaster.bot.workspace.page.typed_text import to_stored
from trainmaster.bot.workspace.state.people import BOT_USER_ID, Channel, Person
from trainmaster.bot.workspace.state.state import WorkspaceState

STATE = WorkspaceState(
    people=[Person(user_id="U0ANNA", name="anna")],
    channels=[Channel(channel_id="C0TRAIN", name="training")],
    commands=[],
    clock=lambda: 0.0,
)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        pytest.param("@trainmaster status", f"<@{BOT_USER_ID}> status", id="the app"),
        pytest.param("@Trainmaster, status", f"<@{BOT_USER_ID}>, status", id="capital letter and comma"),
        pytest.param("thanks @anna.", "thanks <@U0ANNA>.", id="a person at the end of a sentence"),
        pytest.param("see #training", "see <#C0TRAIN|training>", id="a channel"),
        pytest.param("@nobody in #nowhere", "@nobody in #nowhere", id="names that nobody has"),
        pytest.param("mail anna@trainmaster.org", "mail anna@trainmaster.org", id="an address is no mention"),
        pytest.param("a < b && c > d", "a &lt; b &amp;&amp; c &gt; d", id="the three characters"),
        pytest.param("https://e.org/?a=1&b=2", "<https://e.org/?a=1&amp;b=2>", id="a link"),
        pytest.param("<@U0ANNA>", "&lt;@U0ANNA&gt;", id="typed brackets are no mention"),
        pytest.param("epoch #4", "epoch #4", id="a number"),
    ],
)
def test_typed_text_is_stored_as_slack_stores_it(typed: str, stored: str) -> None:
    assert to_stored(typed, STATE) == stored
