"""The drill before it begins: what it accepts, and what it keeps away from."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from trainmaster.__main__ import main
from trainmaster.bot.cli import drill as drill_verb
from trainmaster.bot.errors import CommandError
from trainmaster.bot.rehearsal import drill
from trainmaster.bot.rehearsal.drill_story import opening
from trainmaster.bot.rehearsal.small_training import repeated


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        pytest.param(["--wait", "5"], "--wait 5: expected 30 to 7200 seconds.", id="nobody answers in five seconds"),
        pytest.param(["--wait", "99999"], "--wait 99999: expected 30 to 7200 seconds.", id="longer than a night"),
        pytest.param(
            ["--channel", "real", "--headless"],
            "--headless and --port are for the workspace",
            id="nobody can be clicked for in Slack",
        ),
        pytest.param(["--channel", "pigeon"], "argument --channel: invalid choice: 'pigeon'", id="no such channel"),
    ],
)
def test_arguments_that_cannot_be_are_refused(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        drill_verb.main(argv)
    assert caught.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"trainmaster drill: {said}" in told
    assert "Hint: trainmaster drill --help" in told


def test_help_says_what_it_does_and_what_it_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        drill_verb.main(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(words in text for words in ("nothing is left running", "--channel real", "Exit code")), text


def test_real_channel_without_tokens_is_refused_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "ALERT_CHANNEL"):
        monkeypatch.delenv(name, raising=False)
    assert main(["drill", "--channel", "real", "--dir", str(tmp_path / "drill")]) == 2
    assert "SLACK_BOT_TOKEN is not set" in capsys.readouterr().err


def test_workspace_is_refused_beside_real_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1-real")
    assert main(["drill", "--headless", "--dir", str(tmp_path / "drill")]) != 0
    assert "SLACK_BOT_TOKEN" in capsys.readouterr().err


def test_bot_that_runs_with_these_tokens_keeps_the_drill_out(tmp_path: Path) -> None:
    drill.refuse_beside_bot(tmp_path)  # none was ever started there
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    drill.refuse_beside_bot(tmp_path)  # it has ended
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(CommandError, match="only one of the two"):
        drill.refuse_beside_bot(tmp_path)
    os.close(descriptor)


def test_channel_is_told_that_it_is_a_drill_before_anything_else() -> None:
    message = opening("DRILL-1")
    assert message.title.startswith("DRILL-1 begins")
    assert "nothing here is a real training" in message.title


def test_longer_epoch_names_every_image_again(tmp_path: Path) -> None:
    (tmp_path / "images" / "train").mkdir(parents=True)
    for name in ("b.png", "a.png"):
        (tmp_path / "images" / "train" / name).touch()
    data = tmp_path / "data.yaml"
    data.write_text("train: images/train\nval: images/val\n")
    longer = repeated(data, 3)
    assert longer.read_text() == "train: train-3.txt\nval: images/val\n"
    lines = (tmp_path / "train-3.txt").read_text().splitlines()
    assert [Path(line).name for line in lines] == ["a.png", "b.png"] * 3
    assert data.read_text() == "train: images/train\nval: images/val\n"
