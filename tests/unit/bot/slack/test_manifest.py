"""The manifest asks for what is used, and for nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

from trainmaster.bot import slack
from trainmaster.bot.slack import limits
from trainmaster.bot.slack.manifest import manifest, manifest_json
from trainmaster.bot.slack.scopes import BOT_SCOPES, EVENT_SCOPES, METHOD_SCOPES, missing_scopes

SOURCES = [path.read_text(encoding="utf-8") for path in Path(slack.__file__).parent.glob("*.py")]
FAMILIES = "auth|apps|chat|conversations|usergroups|users|views|files|reactions|pins|bookmarks|team|dnd|im"


def test_every_method_that_is_called_has_its_scopes_named() -> None:
    called = {name for source in SOURCES for name in re.findall(rf"\.((?:{FAMILIES})_\w+)\(", source)}
    called |= {name.replace(".", "_") for source in SOURCES for name in re.findall(r'api_call\(\s*"([\w.]+)"', source)}
    named = {re.sub(r"[.]|(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in METHOD_SCOPES}
    assert {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in called} == named


def test_every_scope_of_a_method_and_of_an_event_is_asked_for() -> None:
    asked = set(manifest()["oauth_config"]["scopes"]["bot"])
    assert asked == {"commands"}.union(*METHOD_SCOPES.values(), *EVENT_SCOPES.values())
    assert manifest()["settings"]["event_subscriptions"]["bot_events"] == sorted(EVENT_SCOPES)


def test_the_manifest_stays_within_slacks_limits() -> None:
    shown = manifest()["display_information"]
    assert len(shown["name"]) <= limits.MANIFEST_NAME_CHARS
    assert len(shown["description"]) <= limits.MANIFEST_DESCRIPTION_CHARS
    assert 174 <= len(shown["long_description"]) <= limits.MANIFEST_LONG_DESCRIPTION_CHARS
    (command,) = manifest()["features"]["slash_commands"]
    assert command["command"] == "/train"
    assert len(command["usage_hint"]) <= limits.MANIFEST_USAGE_HINT_CHARS
    assert manifest()["settings"]["socket_mode_enabled"] is True
    assert manifest()["settings"]["interactivity"]["is_enabled"] is True


def test_it_is_printed_as_json() -> None:
    assert json.loads(manifest_json()) == manifest()


def test_what_is_granted_is_not_missing() -> None:
    assert missing_scopes(frozenset(BOT_SCOPES)) == ()
    assert missing_scopes(frozenset(BOT_SCOPES) - {"chat:write"}) == ("chat:write",)
