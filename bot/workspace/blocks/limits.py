"""The numbers that Slack enforces, as named constants.

Sources: docs.slack.dev (messages, Block Kit and rate-limit pages) and, where the documentation is silent, what
Slack's own SDKs check. Nothing of the bot's own message builder is used here: the stand-in must be able to disagree.
"""

from __future__ import annotations

from typing import Final

MESSAGE_BLOCKS: Final = 50
VIEW_BLOCKS: Final = 100
ALL_BLOCKS_CHARS: Final = 13_200
"""Text of all blocks of one message together. Undocumented; answered with ``msg_blocks_too_long``."""

POST_TEXT_CHARS: Final = 40_000
UPDATE_TEXT_BYTES: Final = 4_000
"""UTF-8 bytes of the escaped text; ``chat.update`` is stricter than ``chat.postMessage``."""

ATTACHMENTS: Final = 100

SECTION_TEXT_CHARS: Final = 3_000
SECTION_FIELDS: Final = 10
SECTION_FIELD_CHARS: Final = 2_000
HEADER_CHARS: Final = 150
CONTEXT_ELEMENTS: Final = 10
ACTIONS_ELEMENTS: Final = 25
MARKDOWN_CHARS: Final = 12_000
INPUT_LABEL_CHARS: Final = 2_000

BUTTON_TEXT_CHARS: Final = 75
BUTTON_VALUE_CHARS: Final = 2_000
URL_CHARS: Final = 3_000
ALT_TEXT_CHARS: Final = 2_000
IMAGE_TITLE_CHARS: Final = 2_000
ID_CHARS: Final = 255
"""``action_id``, ``block_id`` and a view's ``callback_id``."""

CONFIRM_TITLE_CHARS: Final = 100
CONFIRM_TEXT_CHARS: Final = 300
CONFIRM_BUTTON_CHARS: Final = 30

PLACEHOLDER_CHARS: Final = 150
OPTIONS: Final = 100
OVERFLOW_OPTIONS: Final = 5
BOX_OPTIONS: Final = 10
"""Checkboxes and radio buttons."""
OPTION_TEXT_CHARS: Final = 75
OPTION_VALUE_CHARS: Final = 150
INPUT_MAX_CHARS: Final = 3_000

TABLE_ROWS: Final = 100
TABLE_COLUMNS: Final = 20
TABLES: Final = 1
TABLE_CHARS: Final = 10_000
"""All cells of a message's tables together."""

VIEW_TITLE_CHARS: Final = 24
VIEW_METADATA_CHARS: Final = 3_000

ACK_TIMEOUT_S: Final = 3.0
TRIGGER_TTL_S: Final = 3.0
RESPONSE_URL_USES: Final = 5
RESPONSE_URL_TTL_S: Final = 1_800.0
EVENT_RETRY_DELAYS_S: Final = (0.0, 60.0, 300.0)
SOCKETS: Final = 10
