"""The renderer's own shares against Slack's limits, and Slack's limits against what the stand-in enforces."""

from __future__ import annotations

import pytest

from trainmaster.bot.core.conversation.message import ActionId
from trainmaster.bot.core.conversation.request import Press
from trainmaster.bot.slack import limits
from trainmaster.bot.slack.inbox import ACK_AT_LATEST_S
from trainmaster.bot.slack.incoming import reason_form
from trainmaster.bot.workspace.blocks import limits as enforced


def test_the_shares_of_all_parts_together_stay_below_the_total() -> None:
    shares = [value for name, value in vars(limits).items() if name.endswith("_SHARE")]
    assert len(shares) == 9
    assert sum(shares) <= limits.ALL_BLOCKS_CHARS - 100


def test_no_line_is_longer_than_a_field_may_be() -> None:
    assert limits.LINE_CHARS <= limits.FIELD_CHARS


def test_all_parts_together_are_fewer_blocks_than_a_message_may_have() -> None:
    num_sections = 3 + -(-limits.MAX_FIELDS // limits.SECTION_FIELDS)
    num_others = limits.MAX_BUTTONS + 2
    assert num_sections + num_others <= limits.MESSAGE_BLOCKS


def test_a_decision_is_acknowledged_well_before_slack_gives_up() -> None:
    assert ACK_AT_LATEST_S <= limits.ACK_S - 0.5


def test_the_form_fits_the_longest_value_a_button_can_have() -> None:
    press = Press(
        action=ActionId.REJECT,
        value="v" * limits.BUTTON_VALUE_CHARS,
        user="U",
        channel="C0TRAIN",
        message_ts="1.000001",
    )
    form = reason_form(press)
    assert len(form["private_metadata"]) <= limits.PRIVATE_METADATA_CHARS
    assert len(form["title"]["text"]) <= limits.MODAL_TITLE_CHARS


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (limits.MESSAGE_BLOCKS, enforced.MESSAGE_BLOCKS),
        (limits.ALL_BLOCKS_CHARS, enforced.ALL_BLOCKS_CHARS),
        (limits.TEXT_BYTES, enforced.UPDATE_TEXT_BYTES),
        (limits.SECTION_CHARS, enforced.SECTION_TEXT_CHARS),
        (limits.SECTION_FIELDS, enforced.SECTION_FIELDS),
        (limits.FIELD_CHARS, enforced.SECTION_FIELD_CHARS),
        (limits.CONTEXT_ELEMENTS, enforced.CONTEXT_ELEMENTS),
        (limits.ACTIONS_ELEMENTS, enforced.ACTIONS_ELEMENTS),
        (limits.BUTTON_LABEL_CHARS, enforced.BUTTON_TEXT_CHARS),
        (limits.BUTTON_VALUE_CHARS, enforced.BUTTON_VALUE_CHARS),
        (limits.CONFIRM_TEXT_CHARS, enforced.CONFIRM_TEXT_CHARS),
        (limits.CONFIRM_LABEL_CHARS, enforced.CONFIRM_BUTTON_CHARS),
        (limits.TABLE_ROWS, enforced.TABLE_ROWS),
        (limits.TABLE_COLUMNS, enforced.TABLE_COLUMNS),
        (limits.RESPONSE_URL_USES, enforced.RESPONSE_URL_USES),
    ],
)
def test_both_sides_read_slacks_pages_alike(ours: int, theirs: int) -> None:
    assert ours == theirs
