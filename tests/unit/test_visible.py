"""Foreign text on a screen: shown, not obeyed."""

from __future__ import annotations

import json

import pytest

from trainmaster.visible import visible, visible_json, visible_line

OBEYED = [
    "\x1b",
    "\x07",
    "\x7f",
    "\x9b",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u200d",
    "\ufeff",
    "\u2028",
    "\ufe00",
    "\U0001bca0",
    "\U0001d173",
    "\U000e0041",
    "\udc80",
]


@pytest.mark.parametrize("character", OBEYED, ids=ascii)
def test_what_a_screen_obeys_is_named(character: str) -> None:
    assert visible(f"a{character}b") == f"a⟨U+{ord(character):04X}⟩b"


@pytest.mark.parametrize("text", ["night", "Größe 3 °C", "图像.png", "⚠️ 50 %", "a\tb\nc", "עברית"])
def test_letters_of_every_script_are_left_alone(text: str) -> None:
    assert visible(text) == text


def test_name_within_a_line_stays_within_it() -> None:
    assert visible_line("a\nb\tc") == "a⟨U+000A⟩b⟨U+0009⟩c"


@pytest.mark.parametrize("character", [one for one in OBEYED if one != "\udc80"], ids=ascii)
def test_json_says_the_same_and_shows_itself(character: str) -> None:
    text = json.dumps({"file": f"a{character}b"}, ensure_ascii=False)
    assert visible_json(text).isascii()
    assert json.loads(visible_json(text)) == {"file": f"a{character}b"}
