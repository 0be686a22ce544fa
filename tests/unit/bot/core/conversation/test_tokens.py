"""Times and people as pieces that only the bot's own code makes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trainmaster.bot.core.conversation.tokens import actor, at_rest, awake, moment, person, plain


def test_pieces_are_kept_as_data_and_come_back() -> None:
    text = f"since {moment(1_760_000_000)}, by {person('U0BOB')}: 50 < 60"
    assert at_rest(text) == ["since ", {"t": 1_760_000_000}, ", by ", {"u": "U0BOB"}, ": 50 < 60"]
    assert awake(at_rest(text)) == text


@pytest.mark.parametrize("text", ["", "plain", "<u:U0CLEO>", "<t:1>", "[{'u': 'U0CLEO'}]"])
def test_foreign_text_is_kept_as_it_is_and_stays_text(text: str) -> None:
    assert at_rest(text) == text
    assert awake(at_rest(text)) == text
    assert plain(text) == text


def test_piece_of_another_process_is_only_text_here() -> None:
    code = "from trainmaster.bot.core.conversation.tokens import person; print(person('U0CLEO'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other != person("U0CLEO")
    assert plain(other) == other


def test_what_is_no_user_id_is_named_as_it_is() -> None:
    assert actor("Trainmaster") == person("Trainmaster") == "Trainmaster"
    assert person("U0CLEO> <!channel") == "U0CLEO> <!channel"
