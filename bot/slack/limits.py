"""Slack's limits, each with its source, and the shares that the renderer gives to the parts of a message.

Sources: (B) docs.slack.dev, Block Kit reference; (M) docs.slack.dev, page of the method; (S) what slack_sdk's models
check; (O) observed and reported by others, not documented.
"""

from __future__ import annotations

from typing import Final

MESSAGE_BLOCKS: Final = 50
"""(B) Blocks of one message."""
HOME_BLOCKS: Final = 100
"""(B) Blocks of a Home."""
ALL_BLOCKS_CHARS: Final = 13_200
"""(O) Text of all blocks of one message together; beyond it Slack answers ``msg_blocks_too_long``."""
TEXT_BYTES: Final = 4_000
"""(O) UTF-8 bytes of the escaped top-level text that ``chat.update`` takes. ``chat.postMessage`` takes 40,000
characters, but every message of ours may be edited later."""

SECTION_CHARS: Final = 3_000
SECTION_FIELDS: Final = 10
FIELD_CHARS: Final = 2_000
CONTEXT_ELEMENTS: Final = 10
ACTIONS_ELEMENTS: Final = 25
BUTTON_LABEL_CHARS: Final = 75
BUTTON_VALUE_CHARS: Final = 2_000
CONFIRM_TEXT_CHARS: Final = 300
CONFIRM_LABEL_CHARS: Final = 30
"""All (B) and (S)."""

TABLE_ROWS: Final = 100
TABLE_COLUMNS: Final = 20
"""(B) One table a message."""
TABLE_CHARS: Final = 10_000
"""(B) All cells of a table together (``invalid_blocks`` beyond it)."""

MODAL_TITLE_CHARS: Final = 24
PRIVATE_METADATA_CHARS: Final = 3_000
"""(B)"""

ACK_S: Final = 3.0
"""(M) Slack shows the person an error when a command, a click or a modal is not acknowledged by then."""
RESPONSE_URL_USES: Final = 5
"""(M) Within 30 minutes."""

MANIFEST_NAME_CHARS: Final = 35
MANIFEST_DESCRIPTION_CHARS: Final = 140
MANIFEST_LONG_DESCRIPTION_CHARS: Final = 4_000
MANIFEST_USAGE_HINT_CHARS: Final = 1_000
"""(S) and docs.slack.dev, app manifest reference."""

# Shares of ALL_BLOCKS_CHARS, in the order in which the parts are built. What a part does not need goes to the next, so
# that a message which is only a table may be a long one; their sum stays below the total.
CONTEXT_SHARE: Final = 900
TITLE_SHARE: Final = 600
MENTIONS_SHARE: Final = 500
BUTTONS_SHARE: Final = 2_000
FIELDS_SHARE: Final = 1_600
ITEMS_SHARE: Final = 1_800
BODY_SHARE: Final = 2_000
EXCERPT_SHARE: Final = 2_200
TABLE_SHARE: Final = 1_400

PICTURE_ALT_CHARS: Final = 1_900
"""(B) 2,000 characters of an image's alternative text; it is none of the text of all blocks together (O)."""
MAX_PICTURES: Final = 2

EXCERPT_LINES: Final = 20
"""The newest lines; more is a wall on a phone, and the log is on disk."""
LINE_CHARS: Final = 600
"""One field or one line of a checklist."""
MAX_FIELDS: Final = 20
MAX_BUTTONS: Final = 10
MAX_MENTIONS: Final = 20
