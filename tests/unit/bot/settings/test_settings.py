"""Settings: every fault at once, no token in any text, and an example file that agrees."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values
from pydantic import ValidationError

from trainmaster.bot.core.alerts.finding import Severity
from trainmaster.bot.errors import SettingsError
from trainmaster.bot.settings.limits import audience
from trainmaster.bot.settings.model import (
    SLACK_API,
    Settings,
    examine_settings,
    load_settings,
    repeated_names,
    suspicious_names,
    unit_of,
)

WRITE = "run: trainmaster settings > .env.example"
EXAMPLE = Path(__file__).parents[4] / ".env.example"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The least that the supervisor needs."""
    (tmp_path / "runs").mkdir()
    return {
        "SLACK_BOT_TOKEN": "xoxb-1-secret",
        "SLACK_APP_TOKEN": "xapp-1-secret",
        "ALERT_CHANNEL": "C0TRAIN",
        "ONCALL_USERS": "U0ANNA",
        "RUNS_DIR": str(tmp_path / "runs"),
        "STATE_DIR": str(tmp_path / "state"),
    }


def faults(environ: dict[str, str], **changed: str) -> dict[str, str]:
    """What is wrong, by name."""
    return {fault.name: str(fault) for fault in examine_settings({**environ, **changed})[1]}


def test_the_least_that_is_needed_is_enough(environ: dict[str, str]) -> None:
    settings = load_settings(environ)
    assert settings.slack_bot_token is not None
    assert settings.slack_bot_token.get_secret_value() == "xoxb-1-secret"
    assert settings.slack_api_url == SLACK_API
    assert settings.oncall_users == ("U0ANNA",)


def test_every_fault_is_told_at_once(environ: dict[str, str], tmp_path: Path) -> None:
    wrong = {
        "SLACK_BOT_TOKEN": "xapp-swapped",
        "SLACK_APP_TOKEN": "",
        "CHECK_INTERVAL_S": "often",
        "APPROVALS_REQUIRED": "0",
        "RUNS_DIR": str(tmp_path / "nowhere"),
    }
    with pytest.raises(SettingsError) as caught:
        load_settings({**environ, **wrong})
    assert "5 settings are not usable" in caught.value.message
    for name in wrong:
        assert f"- {name} is " in caught.value.message
    # Whoever installed a wheel has no .env.example.
    assert "trainmaster settings explains each" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SLACK_BOT_TOKEN", "xoxp-user", "begins with xoxb-"),
        ("SLACK_BOT_TOKEN", "xoxb-", "begins with xoxb-"),
        ("SLACK_APP_TOKEN", "xoxb-1", "begins with xapp-"),
        ("SLACK_API_URL", "http://slack.example/api/", "https, or a loopback"),
        ("SLACK_API_URL", "slack.com", "an address such as"),
        ("SLACK_API_URL", "http://[::1/api", "an address such as"),
        ("ALERT_CHANNEL", "my channel", "a channel id"),
        ("ALERT_CHANNEL", "#Training", "a channel id"),
        ("ONCALL_USERS", "U0ANNA,@ben", "member ids"),
        ("ONCALL_USERGROUP", "on-call", "a user group id"),
        ("ESCALATE_TO", "C0TRAIN", "member ids (U…) or user group ids (S…)"),
        ("ESCALATE_TO", "1h: U0ANNA; 30m: U0BEN", "times that grow from group to group"),
        ("APPROVALS_REQUIRED", "1.5", "a whole number (people), at least 1 and at most 10"),
        ("APPROVALS_REQUIRED", "99", "at most 10"),
        ("ALLOW_SELF_APPROVAL", "perhaps", "true or false"),
        ("APPROVAL_TTL_S", "nan", "a number (s), at least 30"),
        ("CHECK_INTERVAL_S", "inf", "a number (s)"),
        ("STALL_FACTOR", "1", "above 1"),
        ("WATCHDOG_URL", "hc-ping.com/x", "http:// or https://"),
        *(
            ("METRICS_ADDRESS", value, "a port such as 9464, HOST:PORT, or off")
            for value in (
                "yes",
                "0",
                "65536",
                "1.2:9464",
                "::1:9464",
                "[1.2.3.4]:9464",
                "http://h:1",
                "a b:9464",
                "h:-1",
            )
        ),
        ("LOG_LEVEL", "loud", "DEBUG, INFO, WARNING or ERROR"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(
    environ: dict[str, str], name: str, value: str, expected: str
) -> None:
    found = faults(environ, **{name: value})
    assert list(found) == [name]
    assert expected in found[name]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SLACK_API_URL", "http://127.0.0.1:8000/api", "http://127.0.0.1:8000/api/"),
        ("SLACK_API_URL", "http://localhost:8000/api/", "http://localhost:8000/api/"),
        ("SLACK_API_URL", "http://[::1]:8000/api/", "http://[::1]:8000/api/"),
        ("ALERT_CHANNEL", "training", "#training"),
        ("ALERT_CHANNEL", "#training", "#training"),
        ("ONCALL_USERS", " U0ANNA , U0BEN,,U0ANNA ", ("U0ANNA", "U0BEN")),
        ("ONCALL_USERS", "", ()),
        ("ALLOW_SELF_APPROVAL", "YES", True),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("CHECK_INTERVAL_S", " 5 ", 5.0),
        ("WATCHDOG_URL", "https://hc-ping.com/x", "https://hc-ping.com/x"),
        ("METRICS_ADDRESS", "", None),
        ("METRICS_ADDRESS", "Off", None),
        ("METRICS_ADDRESS", "9464", ("127.0.0.1", 9464)),
        ("METRICS_ADDRESS", ":9464", ("127.0.0.1", 9464)),
        ("METRICS_ADDRESS", "0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("METRICS_ADDRESS", "gpu-1.lab:9464", ("gpu-1.lab", 9464)),
        ("METRICS_ADDRESS", "[::1]:9464", ("::1", 9464)),
    ],
)
def test_a_right_value_is_taken(environ: dict[str, str], name: str, value: str, expected: Any) -> None:
    assert getattr(load_settings({**environ, name: value}), name.lower()) == expected


@pytest.mark.parametrize("name", ["SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "ALERT_CHANNEL"])
def test_what_slack_needs_is_missed_only_when_slack_is_needed(environ: dict[str, str], name: str) -> None:
    del environ[name]
    assert list(faults(environ)) == [name]
    assert getattr(load_settings(environ, needs_slack=False), name.lower()) is None


def test_an_empty_value_counts_as_not_set(environ: dict[str, str]) -> None:
    assert load_settings({**environ, "APPROVALS_REQUIRED": "  "}).approvals_required == 1


def test_tokens_show_in_no_repr_and_no_fault(environ: dict[str, str]) -> None:
    assert "secret" not in repr(load_settings(environ))
    swapped = faults(environ, SLACK_BOT_TOKEN="xapp-1-secret", SLACK_APP_TOKEN="hunter2-secret")
    assert "xapp-… (hidden)" in swapped["SLACK_BOT_TOKEN"]
    assert "secret" not in "".join(swapped.values())


def test_a_file_where_a_directory_should_be_is_a_fault(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "which is no directory" in faults(environ, RUNS_DIR=str(file))["RUNS_DIR"]
    assert "is no directory" in faults(environ, STATE_DIR=str(file))["STATE_DIR"]
    assert "is no directory" in faults(environ, STATE_DIR=str(file / "below"))["STATE_DIR"]


def test_the_environment_wins_over_the_file(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        'ALERT_CHANNEL=C0FILE  # comment\nLOG_LEVEL="debug"\nexport APPROVALS_REQUIRED=2\n', encoding="utf-8"
    )
    settings = load_settings(environ, file)
    assert (settings.alert_channel, settings.log_level, settings.approvals_required) == ("C0TRAIN", "DEBUG", 2)


def test_a_missing_file_is_no_fault(environ: dict[str, str], tmp_path: Path) -> None:
    assert load_settings(environ, tmp_path / ".env").alert_channel == "C0TRAIN"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"LOG_LEVEL=INFO\nthis is = no setting\n", "line 2", id="line"),
        pytest.param(b"\xff\xfe\x00", "no UTF-8 text", id="binary"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_fault(
    environ: dict[str, str], tmp_path: Path, content: bytes, expected: str
) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    (fault,) = examine_settings(environ, file)[1]
    assert expected in str(fault)


def test_the_process_environment_is_not_read_behind_the_back(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPROVALS_REQUIRED", "7")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    assert load_settings(environ).approvals_required == 1


def test_settings_do_not_change(environ: dict[str, str]) -> None:
    settings = load_settings(environ)
    with pytest.raises(ValidationError):
        settings.approvals_required = 3


def test_a_misspelt_name_is_suspected(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("ONCALL_USER=U0ANNA\nCOLOUR=blue\n", encoding="utf-8")
    found = suspicious_names({"ALERT_CHANEL": "C1", "PATH": "/bin", "HOME": "/root"}, file)
    assert len(found) == 3
    assert "did you mean ONCALL_USERS?" in found[0]
    assert "COLOUR" in found[1]
    assert "did you mean ALERT_CHANNEL?" in found[2]


def test_a_name_that_stands_twice_in_the_file_is_told(tmp_path: Path) -> None:
    """As after ``trainmaster settings >> .env``: the second, empty one undoes the first."""
    file = tmp_path / ".env"
    file.write_text("ALERT_CHANNEL=#a\nLOG_LEVEL=INFO\nALERT_CHANNEL=\n", encoding="utf-8")
    (found,) = repeated_names(file)
    assert found.startswith("ALERT_CHANNEL stands in")


def test_right_names_raise_no_suspicion(environ: dict[str, str]) -> None:
    assert suspicious_names({**environ, "PATH": "/bin", "SLACK_TEAM_DOMAIN": "x"}) == ()


def test_folders_are_absolute_since_commands_given_them_run_elsewhere() -> None:
    here = Path.cwd()
    loaded = load_settings({"RUNS_DIR": "my-runs"}, needs_slack=False)
    assert (loaded.runs_dir, loaded.state_dir) == (here / "my-runs", here / "state")


PLACES = {"runs_dir", "state_dir", "copy_to"}
NO_UTF8 = os.fsdecode(b"U0\xf0")


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name not in PLACES])
def test_bytes_that_are_no_text_are_told_for_every_setting(name: str) -> None:
    _, faults = examine_settings({name.upper(): NO_UTF8}, needs_slack=False)
    (told,) = (fault for fault in faults if fault.name == name.upper())
    assert "no UTF-8" in told.hint


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    place = tmp_path / NO_UTF8
    place.mkdir()
    settings, faults = examine_settings({"RUNS_DIR": str(place), "COPY_TO": str(place)}, needs_slack=False)
    assert faults == ()
    assert settings is not None
    assert settings.runs_dir == place


def test_the_example_file_names_every_setting_with_its_default() -> None:
    example = dotenv_values(EXAMPLE)
    assert list(example) == [name.upper() for name in Settings.model_fields], WRITE
    filled = {name: value or "" for name, value in example.items()}
    loaded = load_settings(filled, needs_slack=False).model_dump()
    assert loaded == Settings().model_dump()


def test_the_example_file_says_unit_and_reason_of_every_setting() -> None:
    blocks = re.split(r"\n\n", EXAMPLE.read_text(encoding="utf-8"))
    by_name = {match[1]: block for block in blocks if (match := re.search(r"^([A-Z_]+)=", block, re.MULTILINE))}
    for name, info in Settings.model_fields.items():
        assert name.upper() in by_name, WRITE
        comment = " ".join(line.removeprefix("# ") for line in by_name[name.upper()].splitlines()[:-1])
        assert comment == f"{unit_of(name)}: {info.description}"
        assert info.description
        assert unit_of(name)


@pytest.mark.parametrize(
    ("text", "tiers"),
    [
        ("", ()),
        ("U0ANNA, S0HEADS", ((900, ("U0ANNA", "S0HEADS")),)),
        ("U0ANNA; U0BEN;", ((900, ("U0ANNA",)), (1800, ("U0BEN",)))),
        ("10m: U0ANNA; 2h: S0HEADS; U0BEN", ((600, ("U0ANNA",)), (7200, ("S0HEADS",)), (8100, ("U0BEN",)))),
        ("U0ANNA; 10m: U0BEN", ((900, ("U0ANNA",)), (900, ("U0BEN",)))),
    ],
    ids=["nobody", "one group", "two groups", "with times", "never before the group before"],
)
def test_escalation_calls_group_after_group(
    environ: dict[str, str], text: str, tiers: tuple[tuple[float, tuple[str, ...]], ...]
) -> None:
    found = audience(load_settings({**environ, "ESCALATE_TO": text})).escalation
    assert tuple((tier.after_s, tier.users) for tier in found) == tiers


def test_information_has_a_channel_of_its_own_when_one_is_named(environ: dict[str, str]) -> None:
    assert dict(audience(load_settings(environ)).channel_by_severity) == {}
    named = audience(load_settings({**environ, "INFO_CHANNEL": "C0REPORTS"})).channel_by_severity
    assert dict(named) == {Severity.INFO: "C0REPORTS"}


@pytest.mark.parametrize(("used", "refused"), [(False, True), (True, False)], ids=["never used", "used before"])
def test_state_that_can_no_longer_be_written_keeps_nobody_from_watching(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: bool, refused: bool
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    if used:
        (state / "trainmaster.sqlite3").touch()
    monkeypatch.setattr("os.access", lambda path, mode: path != state)
    assert ("STATE_DIR" in faults(environ)) is refused


@pytest.mark.parametrize("name", ["RUNS_DIR", "STATE_DIR"])
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("~nobody-of-that-name/x", "Whose home ~ stands for is not known here"),
        ("/" + "long" * 99, "can't be reached: File name too long"),
        ("loop/x", "can't be reached: Too many levels of symbolic links"),
        ("a\0b", "no name of a file has that in it"),
    ],
    ids=["no such home", "too long", "a link to itself", "NUL"],
)
def test_a_place_that_nobody_can_look_at_is_one_fault_among_the_others(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    _, faults = examine_settings({**environ, name: place, "LOG_LEVEL": "LOUD"}, None)
    assert [fault.name for fault in faults if told in str(fault)] == [name]
    assert "LOG_LEVEL" in {fault.name for fault in faults}
    assert max(len(str(fault)) for fault in faults) < 500
