"""Fatal lines of a guarded run's log, while it grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.bot.reading.scan.endings import SAID
from trainmaster.bot.reading import log_errors
from trainmaster.bot.reading.console.facts import ErrorOrigin, FatalError
from trainmaster.bot.reading.console.reader import ConsoleReader
from trainmaster.bot.reading.log_errors import LogErrorReader

FRAME = (
    "\r        1/4      2.67G      1.525      2.251      1.102         12        640: 5% ━─────── 5/100 2.5it/s 2.0s"
)
TRACEBACK = """
Traceback (most recent call last):
  File "train.py", line 7, in <module>
    loss.backward()
RuntimeError: CUDA error: an illegal memory access was encountered
"""
WORKER = "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. \n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


def _append(log: Path, text: str) -> None:
    with log.open("a", encoding="utf-8") as stream:
        stream.write(text)


def _kinds(reader: LogErrorReader) -> list[str]:
    return [error.kind for error in reader.look(5.0)]


def test_control_c_is_no_error(log: Path) -> None:
    reader = LogErrorReader(log)
    _append(log, FRAME)
    assert _kinds(reader) == []
    _append(log, "\n^C\nTraceback (most recent call last):\n  File x\nKeyboardInterrupt\n")
    assert _kinds(reader) == []


@pytest.mark.parametrize(
    "said", ["fish: Job 1, 'x' terminated by signal SIGINT (Keyboard interrupt)", "zsh: interrupt  x"]
)
def test_control_c_in_the_words_of_a_shell_is_none_either(log: Path, said: str) -> None:
    reader = LogErrorReader(log)
    _append(log, FRAME)
    assert _kinds(reader) == []
    _append(log, f"\n{said}\n")
    assert _kinds(reader) == []


@pytest.mark.parametrize("said", [said for lines in SAID.values() for said in lines])
def test_every_end_that_a_scan_knows_is_told(log: Path, said: str) -> None:
    facts = [fact for fact in ConsoleReader().feed(f"x\n{said}\n".encode()) if isinstance(fact, FatalError)]
    reader = LogErrorReader(log)
    _append(log, FRAME)
    assert _kinds(reader) == []
    _append(log, f"\n{said}\n")
    assert _kinds(reader) == [fact.kind for fact in facts if fact.origin is not ErrorOrigin.WRAPPER]


def test_what_was_there_before_is_history(log: Path) -> None:
    _append(log, TRACEBACK)
    reader = LogErrorReader(log)
    assert _kinds(reader) == []
    _append(log, FRAME)
    assert _kinds(reader) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        pytest.param(TRACEBACK, "cuda_error", id="GPU error"),
        pytest.param(f"Traceback (most recent call last):\n{WORKER}", "dataloader", id="worker"),
        pytest.param("Killed\n", "killed", id="killed"),
        pytest.param("已杀死\n", "killed", id="killed, in Chinese"),
        pytest.param("Getötet\n", "killed", id="killed, in German"),
        pytest.param("/x/MPSNDArray.mm:90: failed assertion `x'\n", "exception", id="native assertion"),
        pytest.param(
            "Traceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n",
            "oom",
            id="memory",
        ),
    ],
)
def test_a_fatal_line_is_found_when_it_comes(log: Path, text: str, kind: str) -> None:
    _append(log, FRAME * 3)
    reader = LogErrorReader(log)
    reader.look(1.0)
    _append(log, FRAME + "\n" + text)
    (error,) = reader.look(5.0)
    assert (error.kind, error.ts) == (kind, 5.0)
    assert reader.look(6.0) == ()


OTHER_FRAME = FRAME.replace("5% ━─────── 5/100", "6% ━─────── 6/100")
FRAMES = [
    pytest.param(FRAME + OTHER_FRAME + FRAME.replace("5% ━─────── 5/100", "7% ━─────── 7/100"), id="drawn anew"),
    pytest.param("      1/400      0G      1.525      2.251      1.102         12        640\n" * 3, id="as lines"),
    pytest.param("\n🔧 guard: attempt 2\nImage sizes 640 train, 640 val\n", id="another start"),
]


@pytest.mark.parametrize("behind", FRAMES)
@pytest.mark.parametrize("said", [TRACEBACK, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n"])
@pytest.mark.parametrize("at_once", [True, False], ids=["at one look", "at two looks"])
def test_errors_with_progress_behind_them_are_no_longer_open(log: Path, behind: str, said: str, at_once: bool) -> None:
    _append(log, FRAME)
    reader = LogErrorReader(log)
    reader.look(1.0)
    _append(log, "\n" + said + said)
    if not at_once:
        reader.look(2.0)
        assert reader.num_open == 2
    _append(log, behind)
    _append(log, "\n")
    reader.look(3.0)
    assert reader.num_open == 0


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param("", id="nothing"),
        pytest.param(FRAME + "\n", id="the last frame, drawn again as its bar is closed"),
        pytest.param("wandb: no run to finish\nresource_tracker: There appear to be 6 leaked semaphores\n", id="words"),
    ],
)
def test_an_error_at_the_end_of_a_log_stays_open(log: Path, behind: str) -> None:
    _append(log, FRAME)
    reader = LogErrorReader(log)
    reader.look(1.0)
    _append(log, "\n" + TRACEBACK + behind)
    (error,) = reader.look(2.0)
    assert reader.num_open == 1
    assert error.written_ts == pytest.approx(log.stat().st_mtime, abs=1e-3)


def test_an_error_behind_progress_is_open(log: Path) -> None:
    _append(log, FRAME)
    reader = LogErrorReader(log)
    reader.look(1.0)
    _append(log, "\n" + TRACEBACK + FRAME + OTHER_FRAME + FRAME + "\n" + TRACEBACK)
    assert len(reader.look(2.0)) == 2
    assert reader.num_open == 1


def test_a_log_that_appears_late_is_read_from_its_beginning(log: Path) -> None:
    reader = LogErrorReader(log)
    assert _kinds(reader) == []
    _append(log, TRACEBACK)
    assert _kinds(reader) == ["cuda_error"]


@pytest.mark.parametrize("cut", range(0, len(TRACEBACK), 9))
def test_a_traceback_in_two_parts_is_one(log: Path, cut: int) -> None:
    _append(log, FRAME)
    reader = LogErrorReader(log)
    reader.look(1.0)
    _append(log, "\n" + TRACEBACK[:cut])
    first = _kinds(reader)
    _append(log, TRACEBACK[cut:])
    assert first + _kinds(reader) == ["cuda_error"]


def test_frames_and_names_that_look_like_trouble_are_none(log: Path) -> None:
    _append(log, FRAME)
    reader = LogErrorReader(log)
    reader.look(1.0)
    _append(log, f"\nerror_rate class: killed_frog.jpg Exceptional\n{FRAME}\nno errors found in labels/abort.txt\n")
    assert _kinds(reader) == []


def test_healthy_frames_are_not_read_any_further(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _append(log, FRAME)
    reader = LogErrorReader(log)
    reader.look(1.0)
    monkeypatch.setattr(log_errors, "ConsoleReader", None)  # not even made
    _append(log, FRAME * 100)
    assert _kinds(reader) == []


def test_a_log_that_is_begun_anew_is_followed(log: Path) -> None:
    _append(log, FRAME * 50)
    reader = LogErrorReader(log)
    reader.look(1.0)
    log.write_text(TRACEBACK)
    assert _kinds(reader) == ["cuda_error"]


def test_the_same_error_has_the_same_digest(log: Path) -> None:
    reader = LogErrorReader(log)
    reader.look(1.0)
    _append(log, TRACEBACK)
    first = reader.look(2.0)
    _append(log, FRAME + "\n" + TRACEBACK)
    second = reader.look(3.0)
    assert first[0].digest == second[0].digest
