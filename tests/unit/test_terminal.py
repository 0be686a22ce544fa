"""Every verb in a terminal: it fits 40 columns, shows that it works, says what comes next; and none of it in a pipe."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.run_dirs import WrittenRun
from tests.support.terminals import Shown, Terminal
from trainmaster.terminal import coloured, folded, obeys
from trainmaster.trainer.cli.help import HELP
from trainmaster.verbs import TRAINER, VERBS, Duration

ROOT = Path(__file__).parents[2]
NARROW = 40
LOG = """\
      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size
        1/3      1.2G      1.5      2.25      0.9        12       640: 100%|####| 4/4 [00:04<00:00,  1.0it/s]
"""
PROGRESS = "\r\x1b[K"
AT_ONCE = (
    "import sys, trainmaster.terminal as t; t.AFTER_S = 0.0; from trainmaster.__main__ import main; "
    "raise SystemExit(main(sys.argv[1:]))"
)

Words = Callable[[Path], list[str]]
CASES: dict[str, Words] = {
    "verify": lambda runs: [str(runs / "night" / "weights" / "last.pt")],
    "catalog": lambda runs: [str(runs / "night")],
    "plot": lambda runs: [str(runs / "night")],
    "copy": lambda runs: [str(runs / "night"), f"to={runs.parent / 'copies'}"],
    "data": lambda runs: [str(runs / "night")],
    "archive": lambda runs: [str(runs / "night")],
    "restore": lambda runs: [str(runs / "night"), "epoch=1"],
    "unarchive": lambda runs: [str(runs / "night"), "nothing"],
    "doctor": lambda _: [],
    "settings": lambda _: [],
    "manifest": lambda _: [],
    "adopt": lambda runs: ["--run-dir", str(runs.parent / "other"), "--log", str(runs.parent / "train.out")],
    "scan": lambda runs: [str(runs.parent / "train.out")],
    "watch": lambda runs: ["--once", str(runs / "night")],
    "audit": lambda _: [],
}
SENTENCES = ("Next:", "error:", "Hint:")
"""Beginnings of what a terminal may break itself: it can be copied."""
REFUSES = {"restore", "unarchive"}
"""There is nothing to restore in the run that was made: what they say then is what is looked at."""
ELSEWHERE = {
    "train": "a Ctrl-C: tests/integration/trainer/test_signals.py",
    "resume": "as train",
    "replay": "loads torch: tests/integration/trainer",
    "selfcheck": "takes minutes; its table: tests/unit/trainer/selfcheck/test_report.py",
    "sbatch": "needs a cluster: tests/unit/trainer/cli/test_sbatch.py",
    "run": "needs a workspace: tests/integration/bot",
    "test-alert": "needs a workspace: tests/integration/bot/test_first_alert.py",
    "demo": "needs a training; tests/integration/bot",
    "drill": "as demo",
}
SAYS_IT_ITSELF = {
    *("train", "resume", "sbatch", "verify", "catalog", "plot", "replay", "selfcheck", "copy", "archive"),
    "data",
    *("restore", "unarchive", "doctor", "test-alert"),
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """RUNS_DIR with a run, a log and another folder beside it."""
    run = WrittenRun(tmp_path / "runs", "night")
    run.start_epoch(1, 0)
    for batch in range(1, 20):
        run.series(epoch=1, batch=batch, loss=3.0 - batch / 20, lr=0.001, grad_norm_p50=3.0, grad_norm_max=6.0)
    run.finish_epoch(1, 100)
    run.beat(100, epoch=1, batch=100)
    run.layout.weights.mkdir()
    (run.layout.weights / "last.pt").write_bytes(b"no checkpoint")
    (tmp_path / "other").mkdir()
    (tmp_path / "copies").mkdir()
    (tmp_path / "train.out").write_text(LOG, encoding="utf-8")
    return tmp_path / "runs"


def environment(runs: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "TMPDIR"}}
    given = {"RUNS_DIR": str(runs), "STATE_DIR": str(runs.parent / "state"), "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    return {**kept, **given, "MPLCONFIGDIR": str(runs.parent), **more}


def typed(verb: str, runs: Path, *, columns: int = NARROW, **more: str) -> Shown:
    words = [sys.executable, "-c", AT_ONCE, verb, *CASES[verb](runs)]
    return Terminal(words, columns=columns, cwd=runs.parent, env=environment(runs, **more)).end(60.0)


def test_every_verb_is_looked_at_here_or_where_it_is_said() -> None:
    assert set(CASES) | set(ELSEWHERE) == set(VERBS)
    assert not set(CASES) & set(ELSEWHERE)
    assert {name for name, verb in VERBS.items() if not verb.then} == SAYS_IT_ITSELF


@pytest.mark.parametrize("verb", CASES)
def test_a_verb_fits_a_narrow_terminal_shows_that_it_works_and_says_what_comes_next(verb: str, runs: Path) -> None:
    shown = typed(verb, runs, NO_COLOR="1")
    assert "Traceback" not in shown.text
    assert "\x1b[3" not in shown.text  # a colour
    if verb not in {"settings", "manifest"}:  # the text of a file, which has its own width
        wide = [line for line in shown.lines if len(line) > NARROW and not line.startswith(SENTENCES)]
        assert [line for line in wide if " " in line.strip()[:NARROW]] == []
    if VERBS[verb].takes is Duration.SHOWN:
        assert PROGRESS in shown.text
    assert shown.text.count("Next: ") == (0 if verb in REFUSES else 1)
    assert "Next: " in shown.text or "Hint: " in shown.text


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("run", []),
        ("test-alert", []),
        ("sbatch", []),
        ("train", ["model=a.yaml", "data=/a/folder/that/is/not/there/data.yaml", "epocs=3"]),
        ("resume", ["nothing"]),
        ("replay", ["nothing"]),
        ("selfcheck", ["--nonsense"]),
    ],
)
def test_what_a_verb_refuses_fits_a_narrow_terminal(verb: str, words: list[str], runs: Path) -> None:
    shown = Terminal(
        [sys.executable, "-m", "trainmaster", verb, *words],
        columns=NARROW,
        cwd=runs.parent,
        env=environment(runs, YOLO_CONFIG_DIR=str(runs.parent)),
    ).end(60.0)
    assert shown.code not in {0, None}
    assert "Traceback" not in shown.text
    ours = [line for line in shown.lines if not re.search("Ultralytics|yolo settings", line)]
    wide = [line for line in ours if len(line) > NARROW and not line.startswith(SENTENCES)]
    assert [line for line in wide if " " in line.strip()[:NARROW]] == []


def test_a_program_that_reads_json_from_a_terminal_hears_of_nothing_else(runs: Path) -> None:
    words = [sys.executable, "-m", "trainmaster", "scan", *CASES["scan"](runs), "--json"]
    shown = Terminal(words, columns=NARROW, cwd=runs.parent, env=environment(runs)).end(60.0)
    assert shown.code == 0
    assert "Next: " not in shown.text


@pytest.mark.parametrize("verb", CASES)
def test_a_pipe_without_utf8_gets_the_same_without_progress_or_colour(verb: str, runs: Path) -> None:
    (runs / "night").rename(runs / "nächtlich")
    words = [word.replace("/night", "/nächtlich") for word in CASES[verb](runs)]
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, verb, *words],
        capture_output=True,
        check=False,
        cwd=runs.parent,
        env=environment(runs, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0"),
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert b"Traceback" not in said
    assert b"\x1b" not in said
    assert b"Next: " not in said


@pytest.mark.parametrize("verb", [name for name, one in VERBS.items() if one.side == TRAINER])
def test_the_help_of_the_trainer_fits_a_narrow_terminal_and_loses_no_word(verb: str, runs: Path) -> None:
    words = [sys.executable, "-m", "trainmaster", verb, "--help"]
    shown = Terminal(words, columns=NARROW, cwd=runs.parent, env=environment(runs)).end(60.0)
    assert [line for line in shown.lines if len(line) > NARROW] == []
    assert shown.text.split() == HELP[verb].split()


def test_a_list_of_verbs_fits_a_narrow_terminal(runs: Path) -> None:
    words = [sys.executable, "-m", "trainmaster", "--help"]
    shown = Terminal(words, columns=NARROW, cwd=runs.parent, env=environment(runs)).end(60.0)
    assert [line for line in shown.lines if len(line) > NARROW] == []
    assert all(f"  {name}" in shown.text for name in VERBS)


CLOSED, FULL = "closed", "full"


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("out", [CLOSED, FULL])
@pytest.mark.parametrize("verb", ["--help", "catalog", "verify", "scan", "watch"])
def test_output_that_can_t_be_written_is_one_line_and_exit_code_1(
    verb: str, out: str, unbuffered: str, runs: Path
) -> None:
    words = [sys.executable, "-m", "trainmaster", verb, *(CASES[verb](runs) if verb in CASES else [])]
    shell = f"{shlex.join(words)} {'>&-' if out == CLOSED else '>/dev/full'}"
    done = subprocess.run(
        ["sh", "-c", shell], check=False, stderr=subprocess.PIPE, text=True, timeout=60,
        env=environment(runs, PYTHONUNBUFFERED=unbuffered), cwd=runs.parent,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert any(words in done.stderr for words in ("can't be written", "system: "))


@pytest.mark.parametrize("verb", ["--help", "--version", "settings"])
def test_a_reader_that_has_seen_enough_ends_a_verb_without_a_word(verb: str, runs: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "trainmaster", verb],
            check=False, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60,
            env=environment(runs), cwd=runs.parent,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("verb", ["--help", "scan", "watch"])
def test_a_closed_error_stream_ends_nothing(verb: str, runs: Path) -> None:
    words = [sys.executable, "-m", "trainmaster", verb, *(CASES[verb](runs) if verb in CASES else [])]
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} 2>&-"],
        check=False, capture_output=True, text=True, timeout=60, env=environment(runs), cwd=runs.parent,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout


def test_a_ctrl_c_while_something_is_imported_is_no_traceback(runs: Path) -> None:
    code = "from trainmaster.terminal import forgiving; forgiving(); raise KeyboardInterrupt"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60, env=environment(runs)
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "Ended on request.\n")


def test_text_is_folded_between_words_and_a_path_stays_whole() -> None:
    path = "/" + "x" * 60
    assert folded(f"it stands in {path} now", 20, indent="  ") == f"it stands in\n  {path}\n  now"
    assert folded("as it is", None) == "as it is"


@pytest.mark.parametrize(
    ("term", "no_color", "shown"),
    [("xterm", "", (True, True)), ("xterm", "1", (True, False)), ("dumb", "", (False, False))],
)
def test_a_terminal_that_obeys_no_signs_is_given_none(
    monkeypatch: pytest.MonkeyPatch, term: str, no_color: str, shown: tuple[bool, bool]
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    main, other = os.openpty()
    with open(main, "rb"), open(other, "w") as stream:  # noqa: PTH123 - a descriptor
        assert (obeys(stream), coloured(stream)) == shown
