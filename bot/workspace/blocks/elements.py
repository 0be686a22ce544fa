"""Composition objects and interactive elements: text, confirm, options, buttons, menus, inputs."""

from __future__ import annotations

import ipaddress
from typing import Any, Final
from urllib.parse import urlsplit

from trainmaster.bot.workspace.blocks import limits
from trainmaster.bot.workspace.blocks.schema import (
    Check,
    Faults,
    Record,
    anything,
    boolean,
    by_type,
    integer,
    list_of,
    one_of,
    string,
)


def plain_text(max_chars: int) -> Check:
    """Accept a ``plain_text`` object only."""
    return Record(
        required={"type": one_of("plain_text"), "text": string(max_chars=max_chars)},
        optional={"emoji": boolean},
    )


def any_text(max_chars: int) -> Check:
    """Accept a ``plain_text`` or a ``mrkdwn`` object."""
    return by_type(
        {
            "plain_text": Record(
                required={"type": anything, "text": string(max_chars=max_chars)}, optional={"emoji": boolean}
            ),
            "mrkdwn": Record(
                required={"type": anything, "text": string(max_chars=max_chars)}, optional={"verbatim": boolean}
            ),
        }
    )


def link_url(value: Any, at: str, faults: Faults) -> None:
    """Accept a URL that a button or a link may open."""
    string(max_chars=limits.URL_CHARS)(value, at, faults)
    if isinstance(value, str) and urlsplit(value).scheme not in {"http", "https", "mailto", "slack"}:
        faults.add(at, "invalid url")


def image_url(value: Any, at: str, faults: Faults) -> None:
    """Accept the URL of an image that Slack's servers could fetch: never one on this machine."""
    string(max_chars=limits.URL_CHARS)(value, at, faults)
    if not isinstance(value, str):
        return
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        faults.add(at, "invalid url")
    elif not _is_public_host(parts.hostname):
        faults.add(at, "downloading image failed")


def _is_public_host(hostname: str) -> bool:
    if hostname == "localhost" or hostname.endswith(".localhost"):
        return False
    try:
        return ipaddress.ip_address(hostname).is_global
    except ValueError:
        return True


CONFIRM: Final = Record(
    required={
        "title": plain_text(limits.CONFIRM_TITLE_CHARS),
        "text": any_text(limits.CONFIRM_TEXT_CHARS),
        "confirm": plain_text(limits.CONFIRM_BUTTON_CHARS),
        "deny": plain_text(limits.CONFIRM_BUTTON_CHARS),
    },
    optional={"style": one_of("primary", "danger")},
)

_ACTION_ID: Final = string(max_chars=limits.ID_CHARS)
_PLACEHOLDER: Final = plain_text(limits.PLACEHOLDER_CHARS)


def _option(text: Check) -> Check:
    return Record(
        required={"text": text, "value": string(max_chars=limits.OPTION_VALUE_CHARS)},
        optional={"description": any_text(limits.OPTION_TEXT_CHARS), "url": link_url},
    )


_PLAIN_OPTION: Final = _option(plain_text(limits.OPTION_TEXT_CHARS))
_BOX_OPTION: Final = _option(any_text(limits.OPTION_TEXT_CHARS))


def _distinct_option_values(value: Any, at: str, faults: Faults) -> None:
    options = value.get("options")
    if not isinstance(options, list):
        return
    values = [option.get("value") for option in options if isinstance(option, dict)]
    if len(values) != len(set(map(str, values))):
        faults.add(f"{at}/options", "option values must be unique")


def _initial_is_an_option(value: Any, at: str, faults: Faults) -> None:
    options, initial = value.get("options"), value.get("initial_option")
    if initial is not None and isinstance(options, list) and initial not in options:
        faults.add(f"{at}/initial_option", "initial_option must match one of the options")


_OPTION_RULES: Final = (_distinct_option_values, _initial_is_an_option)

IMAGE_ELEMENT: Final = Record(
    required={"type": anything, "alt_text": string(max_chars=limits.ALT_TEXT_CHARS)},
    optional={"image_url": image_url, "slack_file": anything},
    rules=(lambda value, at, faults: exactly_one(value, at, faults, "image_url", "slack_file"),),
)


def exactly_one(value: Any, at: str, faults: Faults, *names: str) -> None:
    """Add a fault unless exactly one of the fields ``names`` is there."""
    if sum(1 for name in names if value.get(name) is not None) != 1:
        faults.add(at, f"must define either {' or '.join(names)}")


BUTTON: Final = Record(
    required={"type": anything, "text": plain_text(limits.BUTTON_TEXT_CHARS)},
    optional={
        "action_id": _ACTION_ID,
        "value": string(max_chars=limits.BUTTON_VALUE_CHARS),
        "url": link_url,
        "style": one_of("primary", "danger"),
        "confirm": CONFIRM,
        "accessibility_label": string(max_chars=limits.BUTTON_TEXT_CHARS),
    },
)
STATIC_SELECT: Final = Record(
    required={"type": anything, "options": list_of(_PLAIN_OPTION, max_items=limits.OPTIONS)},
    optional={
        "action_id": _ACTION_ID,
        "placeholder": _PLACEHOLDER,
        "initial_option": _PLAIN_OPTION,
        "confirm": CONFIRM,
        "focus_on_load": boolean,
    },
    rules=_OPTION_RULES,
)
USERS_SELECT: Final = Record(
    required={"type": anything},
    optional={
        "action_id": _ACTION_ID,
        "placeholder": _PLACEHOLDER,
        "initial_user": string(),
        "confirm": CONFIRM,
        "focus_on_load": boolean,
    },
)
OVERFLOW: Final = Record(
    required={"type": anything, "options": list_of(_PLAIN_OPTION, max_items=limits.OVERFLOW_OPTIONS)},
    optional={"action_id": _ACTION_ID, "confirm": CONFIRM},
    rules=_OPTION_RULES,
)
RADIO_BUTTONS: Final = Record(
    required={"type": anything, "options": list_of(_BOX_OPTION, max_items=limits.BOX_OPTIONS)},
    optional={"action_id": _ACTION_ID, "initial_option": _BOX_OPTION, "confirm": CONFIRM, "focus_on_load": boolean},
    rules=_OPTION_RULES,
)
CHECKBOXES: Final = Record(
    required={"type": anything, "options": list_of(_BOX_OPTION, max_items=limits.BOX_OPTIONS)},
    optional={
        "action_id": _ACTION_ID,
        "initial_options": list_of(_BOX_OPTION, max_items=limits.BOX_OPTIONS),
        "confirm": CONFIRM,
        "focus_on_load": boolean,
    },
    rules=_OPTION_RULES,
)
DATEPICKER: Final = Record(
    required={"type": anything},
    optional={
        "action_id": _ACTION_ID,
        "placeholder": _PLACEHOLDER,
        "initial_date": string(min_chars=10, max_chars=10),
        "confirm": CONFIRM,
        "focus_on_load": boolean,
    },
)
PLAIN_TEXT_INPUT: Final = Record(
    required={"type": anything},
    optional={
        "action_id": _ACTION_ID,
        "placeholder": _PLACEHOLDER,
        "initial_value": string(min_chars=0, max_chars=limits.INPUT_MAX_CHARS),
        "multiline": boolean,
        "min_length": integer(low=0, high=limits.INPUT_MAX_CHARS),
        "max_length": integer(low=1, high=limits.INPUT_MAX_CHARS),
        "focus_on_load": boolean,
        "dispatch_action_config": anything,
    },
)
NUMBER_INPUT: Final = Record(
    required={"type": anything, "is_decimal_allowed": boolean},
    optional={
        "action_id": _ACTION_ID,
        "placeholder": _PLACEHOLDER,
        "initial_value": string(),
        "min_value": string(),
        "max_value": string(),
        "focus_on_load": boolean,
    },
)

_MENUS: Final[dict[str, Check]] = {
    "static_select": STATIC_SELECT,
    "users_select": USERS_SELECT,
    "radio_buttons": RADIO_BUTTONS,
    "checkboxes": CHECKBOXES,
    "datepicker": DATEPICKER,
}
ACTIONS_ELEMENT: Final = by_type({**_MENUS, "button": BUTTON, "overflow": OVERFLOW})
ACCESSORY: Final = by_type({**_MENUS, "button": BUTTON, "overflow": OVERFLOW, "image": IMAGE_ELEMENT})
INPUT_ELEMENT: Final = by_type({**_MENUS, "plain_text_input": PLAIN_TEXT_INPUT, "number_input": NUMBER_INPUT})
CONTEXT_ELEMENT: Final = by_type(
    {
        "image": IMAGE_ELEMENT,
        "mrkdwn": any_text(limits.SECTION_TEXT_CHARS),
        "plain_text": any_text(limits.SECTION_TEXT_CHARS),
    }
)
