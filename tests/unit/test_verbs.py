"""One table of verbs, whichever way the command is started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trainmaster.__main__ import main
from trainmaster.verbs import BOT, VERBS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", ["bot", "trainer", "trainmaster", "trainmaster.bot", "trainmaster.trainer"])
def test_every_way_to_start_it_knows_every_verb(module: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    listed = {line.split()[0] for line in asked.stdout.splitlines() if line.startswith("  ")}
    assert listed == {*VERBS, "--version"}


def test_every_verb_of_the_bot_is_a_file_and_every_other_file_none() -> None:
    shared = {"__init__", "main", "arguments", "log_lines"}
    files = {path.stem for path in (ROOT / "bot" / "cli").glob("*.py")}
    assert files - shared == {name.replace("-", "_") for name, verb in VERBS.items() if verb.side == BOT}


def test_the_settings_are_printed_as_the_file_in_the_checkout_has_them() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "trainmaster", "settings"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert asked.stdout == (ROOT / ".env.example").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name, verb in VERBS.items() if verb.side == BOT])
def test_every_verb_of_the_bot_answers_a_call_for_help(name: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "trainmaster", name, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert f"usage: trainmaster {name}" in asked.stdout


@pytest.mark.parametrize("words", [("data", "."), ("sbatch", "--", "train", "model=a.yaml", "data=b.yaml")])
def test_a_folder_that_is_gone_is_named_as_such(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "gone"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    assert main(words) == 2
    assert "no-folder" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="needs signals")
@pytest.mark.parametrize(
    "words", [("settings", "--help"), ("verify", "--help")], ids=lambda words: VERBS[words[0]].side
)
def test_how_a_process_has_ended_is_heard_of_although_the_parent_did_not_want_to_know(words: tuple[str, ...]) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with contextlib.suppress(SystemExit):
            main(words)
        assert subprocess.run([sys.executable, "-S", "-c", "raise SystemExit(3)"], check=False).returncode == 3
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_help_with_a_verb_is_that_verbs_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "catalog"]) == 0
    assert "trainmaster catalog RUN_DIR" in capsys.readouterr().out
    assert main(["help", "catalgo"]) == 2
    assert "Did you mean 'catalog'?" in capsys.readouterr().err
    assert main(["--hlep"]) == 2
    assert "Did you mean '--help'?" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("words", [("scan", "/nowhere/of/a/name/that/is/long"), ("scan", "--a\x1b[31m-b" + " c" * 40)])
def test_what_is_wrong_with_the_words_fits_the_terminal_and_shows_what_is_invisible(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert main(words) == 2
    told = capsys.readouterr().err
    assert max(map(len, told.partition("usage:")[0].splitlines())) <= 60
    assert "\x1b" not in told


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("settings", "--a\x1b[31m-b" + " c" * 40), ""),
        (("watch", "--onec", "\u202ename" + " c" * 40), "Did you mean --once?"),
        (("audit", "--last=²"), "is no count"),
        (("audit", "--last", "9" * 5000), "is no count"),
        (("test-alert", "--resolve-after", "soon"), "is no number of seconds"),
    ],
)
def test_words_that_a_verb_of_the_bot_does_not_know_are_told_like_every_other_error(
    words: tuple[str, ...], near: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert len(told) < 1000
    assert max(len(line) for line in told.splitlines() if "99" not in line) <= 60
    assert not {"\x1b", "\u202e"} & set(told)
    assert near in " ".join(told.split())
    assert f"Hint: trainmaster {words[0]} --help" in told


@pytest.mark.parametrize("verb", ["copy", "data"])
def test_what_the_system_refuses_a_verb_of_the_trainer_is_said_in_words(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "long" * 99]) == 1
    told = capsys.readouterr().err
    assert "File name too long" in told
    assert "Hint: check free space, permissions and mounts" in told


def test_a_setting_with_what_a_screen_would_obey_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONCALL_USERS", "a\x1b[31mb")
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "\u202ename"))
    assert main(["test-alert"]) == 2
    told = capsys.readouterr().err
    assert not {"\x1b", "\u202e"} & set(told)
    assert "⟨U+202E⟩name" in told


@pytest.mark.parametrize("given", ["²", "9" * 30, "-1", "x", ""])
def test_a_width_that_is_none_is_as_if_none_were_given(given: str) -> None:
    code = "import os, trainmaster.terminal as t; t.forgiving(); print('COLUMNS' in os.environ, t.columns())"
    environ = {**os.environ, "COLUMNS": given, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "False None\n", done.stderr
