"""The app manifest: what is pasted at api.slack.com to make the app (docs.slack.dev, app manifest reference)."""

from __future__ import annotations

import json
from typing import Any, Final

from trainmaster.bot.slack.incoming import COMMAND, EXPLAIN_SHORTCUT
from trainmaster.bot.slack.scopes import BOT_SCOPES, EVENT_SCOPES

NAME: Final = "Trainmaster"
_DESCRIPTION: Final = "Watches long YOLO trainings, says when one goes wrong, and rolls it back when on-call approves."
_LONG_DESCRIPTION: Final = (
    "Trainmaster reads what a training writes: heartbeat, events, console log, checkpoints. It tells the channel about "
    "NaN losses and gradients, dead and hanging processes, finished epochs and runs, each once, and edits the message "
    "when it is over. /train status, /train epoch 4 progress, /train execute rollback and /train stop now work as a "
    "command, as a mention, in the thread under an alert and in a direct message. Only people on call decide."
)
EXPLAIN_NAME: Final = "Explain this alert"
"""In the menu of every message."""
_USAGE_HINT: Final = "status | epoch 4 progress | execute rollback | stop now | help"


def manifest() -> dict[str, Any]:
    """Socket Mode, one command, and no scope that is not used."""
    return {
        "display_information": {
            "name": NAME,
            "description": _DESCRIPTION,
            "long_description": _LONG_DESCRIPTION,
            "background_color": "#1f2933",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": NAME.lower(), "always_online": True},
            "shortcuts": [
                {
                    "name": EXPLAIN_NAME,
                    "type": "message",
                    "callback_id": EXPLAIN_SHORTCUT,
                    "description": "What it means, and what to do about it",
                }
            ],
            "slash_commands": [
                {
                    "command": COMMAND,
                    "description": "State of a training, rollback, stop",
                    "usage_hint": _USAGE_HINT,
                    "should_escape": False,
                }
            ],
        },
        "oauth_config": {"scopes": {"bot": list(BOT_SCOPES)}},
        "settings": {
            "event_subscriptions": {"bot_events": sorted(EVENT_SCOPES)},
            "interactivity": {"is_enabled": True},
            "org_deploy_enabled": False,
            "socket_mode_enabled": True,
            "token_rotation_enabled": False,
        },
    }


def manifest_json() -> str:
    """As ``trainmaster manifest`` prints it."""
    return json.dumps(manifest(), indent=2, ensure_ascii=False)
