"""Plain text stays what it was, whatever Slack would like to make of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.bot.core.conversation.tokens import moment, person
from trainmaster.bot.slack.text import clean, clip, code_block, fit, literal, mrkdwn, plain, unescape, utf8_len


def shown(text: str, **options: bool) -> str:
    return "".join(mrkdwn(text, **options))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("loss < 1 & > 0", "loss &lt; 1 &amp; &gt; 0", id="control-characters"),
        pytest.param(
            "<!channel> <@U1> <#C1> <http://x|y>",
            "&lt;!channel&gt; &lt;@U1&gt; &lt;#C1&gt; &lt;http://x|y&gt;",
            id="mentions",
        ),
        pytest.param("&lt;!here&gt;", "&amp;lt;!here&amp;gt;", id="entities-typed-out"),
        pytest.param("_MG_0001_.jpg is bad", "`_MG_0001_.jpg` is bad", id="italic-file-name"),
        pytest.param("(_a_, _b_)", "(`_a_`, `_b_`)", id="punctuation-stays-outside"),
        pytest.param("use *all* of it", "use `*all*` of it", id="bold"),
        pytest.param("*two words*", "`*two` `words*`", id="bold-over-words"),
        pytest.param("~gone~", "`~gone~`", id="strike"),
        pytest.param("__init__", "`__init__`", id="dunder"),
        pytest.param("`rm`", "'rm'", id="code"),
        pytest.param("a :warning: b", "a `:warning:` b", id="emoji"),
        pytest.param("epoch:100:loss", "`epoch:100:loss`", id="emoji-of-digits"),
        pytest.param("> quoted", "`&gt;` quoted", id="quotation"),
    ],
)
def test_formatting_is_not_taken_from_text(text: str, expected: str) -> None:
    assert shown(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "hsv_h, hsv_s and hsv_v",
        "12:30:45",
        "*.pt in weights",
        "~5 h, then ~3 h",
        "3 * 4 * 5",
        "a_b",
        "box: 1.2, cls: 3",
    ],
)
def test_harmless_text_is_left_alone(text: str) -> None:
    assert shown(text) == text


def test_a_bold_line_holds_no_asterisk_that_could_end_it() -> None:
    assert shown("keep *.pt here", bold=True) == "keep `*.pt` here"


def test_times_and_people_become_what_slack_shows_best() -> None:
    text = shown(f"at {moment(1_700_000_000)} by {person('U0ANNA')}")
    assert text == "at <!date^1700000000^{date_short_pretty} {time_secs}|2023-11-14 22:13:20 UTC> by <@U0ANNA>"


def test_a_notification_tells_times_and_people_in_words() -> None:
    text = "".join(plain(f"at {moment(1_700_000_000)} by {person('U0ANNA')} <b>"))
    assert text == "at 2023-11-14 22:13 UTC by @U0ANNA &lt;b&gt;"


def test_a_cut_never_splits_an_entity_or_a_date() -> None:
    whole = shown(f"ab&<{moment(1_700_000_000)}")
    for limit in range(1, len(whole) + 2):
        text, complete = fit(mrkdwn(f"ab&<{moment(1_700_000_000)}"), limit)
        assert len(text) <= limit
        assert complete is (text == whole)
        assert text.rstrip("…") in {"", "a", "ab", "ab&amp;", "ab&amp;&lt;", whole}


@given(st.text(), st.integers(0, 60))
def test_a_text_fits_in_characters_and_in_bytes(text: str, limit: int) -> None:
    assert len(fit(literal(text), limit)[0]) <= limit
    assert utf8_len(fit(literal(text), limit, utf8_len)[0]) <= limit
    assert len(clip(text, limit)) <= limit


@given(st.text())
def test_what_a_person_typed_comes_back(text: str) -> None:
    assert unescape("".join(literal(text))) == text


def test_what_would_be_obeyed_or_hidden_is_shown() -> None:
    shown = "a⟨U+001B⟩[31mb⟨U+0000⟩\nc\nd⟨U+D800⟩⟨U+2028⟩⟨U+202E⟩⟨U+200B⟩"
    assert clean("a\x1b[31mb\x00\r\nc\rd\ud800\u2028\u202e\u200b") == shown


@pytest.mark.parametrize(
    "forged",
    [
        "<u:U0CLEO>",
        "<t:1760000000>",
        "<@U0CLEO>",
        "<!channel>",
        "<!subteam^S0ABC>",
        "<https://evil.example|status>",
        "<!date^1^{date}^https://evil.example|x>",
        "<u:U0CLEO:0123456789abcdef>",
        "&lt;@U0CLEO&gt;",
    ],
)
def test_foreign_text_makes_no_mention_no_date_and_no_link(forged: str) -> None:
    text = "".join(mrkdwn(f"bad image {forged}.png"))
    assert "<" not in text
    assert text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("`", "") == (
        f"bad image {forged}.png"
    )


def test_an_excerpt_keeps_its_end_and_says_that_the_beginning_is_missing() -> None:
    text, complete = code_block("\n".join(f"line {n}" for n in range(100)), 3000, max_lines=3)
    assert text == "```\n… earlier lines left out\nline 97\nline 98\nline 99\n```"
    assert not complete


def test_a_short_excerpt_is_complete() -> None:
    assert code_block("one\ntwo\n", 3000, max_lines=3) == ("```\none\ntwo\n```", True)


def test_an_excerpt_cannot_leave_its_block() -> None:
    text, _ = code_block("a ``` *b* <!channel> `````", 3000, max_lines=5)
    assert text.count("```") == 2
    assert "<" not in text


@given(st.text(alphabet=st.sampled_from("ab`<&\n ")), st.integers(40, 120))
def test_an_excerpt_fits_whatever_is_in_it(text: str, limit: int) -> None:
    shown_text, _ = code_block(text, limit, max_lines=4)
    assert len(shown_text) <= limit
    assert shown_text.count("```") == 2
