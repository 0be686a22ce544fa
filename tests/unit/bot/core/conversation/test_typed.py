"""What people type, as it was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainmaster.bot.core.conversation.typed import undressed
from trainmaster.bot.slack.incoming import mention_request, message_talk, slash_request
from trainmaster.commands import COMMANDS, is_command
from trainmaster.commands.dispatch import match

STOP = [
    *("stop now", "stop now!", "Stop now.", "*stop now*", "`stop now`", "_stop now_", "~stop now~", "```stop now```"),
    *(
        '"stop now"',
        "“stop now”",
        "„stop now“",
        "‘stop now’",
        "'stop now'",
        "«stop now»",
        "*“Stop now!”*",
        "stop now …",
    ),
    *("stop\u200b now", "\ufeffstop now", "stop\u00a0now", "stop\u2009now", "stop\tnow", "> stop now"),
    *(
        "stop now …",
        "STOP NOW!!!",
        ": stop now",
        ", stop now",
        "/Train stop now",
        "/train: stop now",
        "`/train stop now`",
        "/TRAIN *stop now*.",
    ),
]


@pytest.mark.parametrize("typed", STOP, ids=ascii)
def test_a_command_is_understood_however_it_is_dressed(typed: str) -> None:
    said = mention_request({"event": {"user": "U1", "channel": "C1", "ts": "5.0", "text": f"<@UBOT> {typed}"}}, "UBOT")
    typed_out = slash_request({"user_id": "U1", "channel_id": "C1", "text": typed})
    event = {"user": "U1", "channel": "C1", "ts": "6.0", "thread_ts": "5.0", "text": typed}
    in_thread = message_talk({"event": event}, "UBOT")
    assert said is not None
    assert typed_out is not None
    assert in_thread is not None
    for request in (said, typed_out, in_thread.request):
        found = match(request.text, COMMANDS)
        assert found is not None, request.text
        assert found[0].name == "stop now"
        assert is_command(request.text, COMMANDS)


@pytest.mark.parametrize("mention", ["<@UBOT>:", "*<@UBOT>*", "<@UBOT|bot>,", "<@UBOT> –"])
def test_a_mention_may_be_dressed_too(mention: str) -> None:
    event = {"user": "U1", "channel": "C1", "ts": "5.0", "text": f"{mention} status"}
    said = mention_request({"event": event}, "UBOT")
    assert said is not None
    assert match(said.text, COMMANDS) is not None


@pytest.mark.parametrize(
    "typed",
    ["silence 2 hours", "silence for 30 minutes", "silence 1 day", "Silence 2hrs.", "silence 90 mins", "silence 2h"],
)
def test_times_are_written_out_as_people_do(typed: str) -> None:
    found = match(undressed(typed), COMMANDS)
    assert found is not None
    assert found[0].name == "silence 2h"


@pytest.mark.parametrize(
    "talk",
    ["stop now?", "shall we stop now", "I would stop now.", "“stop now” is what Ben said", "status of the coffee"],
)
def test_ordinary_talk_stays_talk(talk: str) -> None:
    assert not is_command(undressed(talk), COMMANDS)


def test_a_question_may_ask_for_what_only_tells() -> None:
    assert is_command(undressed("Status?"), COMMANDS)
    assert not is_command(undressed("execute rollback?"), COMMANDS)


@given(st.text(max_size=80))
def test_undressing_ends_and_adds_nothing(text: str) -> None:
    plain = undressed(text)
    assert undressed(plain) == plain
    assert len(plain) <= len(text)


@pytest.mark.parametrize(
    "typed",
    [
        *(
            "stop now please",
            "Please stop now.",
            "stop now, please!",
            "stop now pls",
            "Stop now. Thanks!",
            "plz stop now",
        ),
        *(
            "stop now, thank you very much",
            "stop now :pray:",
            "stop now 🙏",
            "stop now 🙏🏽",
            "🛑 stop now",
            "stop now‼️",
        ),
        *(":octagonal_sign: stop now", "stop now :pray::skin-tone-3:", "*stop now* please 🙏", "stop now :+1:"),
        *("stop\u200bnow", "*stop* now", "stop *now*", "`stop` `now`", "‹stop now›", "「stop now」", "• stop now"),
    ],
    ids=ascii,
)
def test_what_is_said_politely_or_with_a_sign_is_understood(typed: str) -> None:
    test_a_command_is_understood_however_it_is_dressed(typed)


@pytest.mark.parametrize(
    "talk",
    [
        "stop now ❓",
        "stop now :question:",
        "stop now 👎",
        "stop now :thinking_face:",
        "stop now? please",
        "stop now 🤔",
    ],
)
def test_a_sign_that_asks_or_objects_stays(talk: str) -> None:
    assert not is_command(undressed(talk), COMMANDS)


@pytest.mark.parametrize(
    ("typed", "run"),
    [
        *(("status of please", "please"), ("status of night, please", "night"), ("status of *night*", "night")),
        *(("status of <http://exp.ai|exp.ai>", "exp.ai"), ("status of <https://exp.ai>", "https://exp.ai")),
        *(("status of _night_", "_night_"), ("status of `night run` thanks", "night run")),
    ],
)
def test_a_run_is_named_by_what_was_typed(typed: str, run: str) -> None:
    said = slash_request({"user_id": "U1", "channel_id": "C1", "text": typed})
    assert said is not None
    found = match(said.text, COMMANDS)
    assert found is not None
    assert found[1]["run"] == run


@pytest.mark.parametrize("dry", ["dry run", "dry-run", "--dry-run", "—dry-run", "dryrun"])
def test_a_dry_run_is_one_however_it_is_written(dry: str) -> None:
    for text in (f"execute rollback {dry}", f"execute rollback of night {dry}"):
        found = match(text, COMMANDS)
        assert found is not None
        assert {"dry", "dry_last"} & set(found[1])
