"""An hour of ``watch`` over a log that grows: thousands of frames, cut off, put aside, begun anew and finished."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from tests.unit.bot.terminal.pictures import Living, picture
from trainmaster.bot.core.run.facts import ProcessStatus
from trainmaster.bot.terminal.sources import Sources
from trainmaster.trainer.contract import EventKind, RunRecordState

HOUR_S = 3600
LOOK_S = 10
FRAMES_PER_S = 4
EPOCHS, BATCHES = 12, 1200
EPOCH_S = BATCHES // FRAMES_PER_S
HEADER = "      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size\n"
GROWTH_MIB = 3.0
"""From the twentieth minute to the end; a list of every frame would be 5 MiB, a list of every line more."""
CUT_OFF_S, PUT_ASIDE_S, ANEW_S = 905, 1505, 2105
"""When the log is truncated in place, moved away by logrotate, and when the process is started again."""


class LongLog:
    """A console log as Ultralytics writes it, four batches a second, in epochs of five minutes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.epoch, self.batch = 1, 0
        self.num_frames = 0
        self.newest: list[tuple[int, int, float]] = []
        """Epoch, batch and loss of the last two frames: the last one has no end yet, and may be half a frame."""
        self.over = False
        self._say(f"Starting training for {EPOCHS} epochs...\n{HEADER}")

    def _say(self, text: str) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(text)

    def grow(self, seconds: int) -> None:
        """What a training prints in so many seconds."""
        said = []
        for _ in range(seconds * FRAMES_PER_S):
            if self.over:
                break
            if self.batch == BATCHES:
                said.append(f"\n                 all  128  929  0.64  0.5{self.epoch:02d}  0.6  0.4\n\n{HEADER}")
                self.epoch, self.batch = self.epoch + 1, 0
            self.batch += 1
            self.num_frames += 1
            loss = 6.0 - self.epoch / 4 - self.batch / 4000
            self.newest = [*self.newest[-1:], (self.epoch, self.batch, loss)]
            pct = 100 * self.batch // BATCHES
            said.append(
                f"\r{self.epoch:>9}/{EPOCHS}      1.2G  {loss:9.4g}      1.25      0.75        12       640:"
                f" {pct:3d}%|####| {self.batch}/{BATCHES} [00:01<00:01,  4.0it/s]"
            )
            self.over = (self.epoch, self.batch) == (EPOCHS, BATCHES)
        if self.over and said:
            said.append(f"\n\n{EPOCHS} epochs completed in 1.000 hours.\n")
        self._say("".join(said))

    def truncate(self) -> None:
        """``: > train.log``: the training writes on."""
        self.path.write_text("", encoding="utf-8")

    def put_aside(self) -> None:
        """As logrotate does, with a training that opens its log anew."""
        self.path.rename(self.path.with_suffix(".log.1"))
        self.path.touch()

    def begin_anew(self) -> None:
        """The process was killed, and somebody resumed it at the epoch that it was in."""
        self.batch = 0
        self._say(f"\n[1]+  Killed\nResuming training from epoch {self.epoch} to {EPOCHS} total epochs\n{HEADER}")


@pytest.fixture
def traced() -> Iterator[Callable[[], None]]:
    """To be called where the growth begins: what is allocated after it and stands at the end has been added, or has
    taken the place of something else."""

    def start() -> None:
        gc.collect()
        tracemalloc.start(1)

    yield start
    tracemalloc.stop()


def added_mib() -> float:
    assert tracemalloc.is_tracing()
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / 2**20


@pytest.mark.timeout(300)
def test_an_hour_over_a_log_that_grows_is_right_at_every_look_and_keeps_its_memory(
    tmp_path: Path, traced: Callable[[], None]
) -> None:
    log = LongLog(tmp_path / "train.log")
    sources = Sources(
        words=[str(log.path)], runs_dir=tmp_path / "none", adoptions=lambda: (), inspector=Living(ProcessStatus.ALIVE)
    )
    events = {CUT_OFF_S: log.truncate, PUT_ASIDE_S: log.put_aside, ANEW_S: log.begin_anew}
    for second in range(0, HOUR_S + 3 * EPOCH_S, LOOK_S):
        log.grow(LOOK_S)
        runs = sources.look(START_TS + second)
        width = 80 if second % (2 * LOOK_S) else 40
        lines = picture(runs, width=width, height=24, after_s=float(second), host=None)
        text = "\n".join(lines)
        assert max(map(len, lines)) <= width
        told = [
            f"epoch {epoch} of {EPOCHS}" in text and f"batch {batch:,} of {BATCHES:,}" in text and f"{loss:.4g}" in text
            for epoch, batch, loss in log.newest
        ]
        assert any(told), (second, log.newest, text)
        for at_s, happens in events.items():
            if second < at_s <= second + LOOK_S:
                happens()
        if second == HOUR_S // 3:
            traced()
    assert log.over
    assert log.num_frames > 10_000
    assert "finished" in text
    assert added_mib() < GROWTH_MIB


@pytest.mark.timeout(300)
def test_an_hour_over_a_guarded_run_through_attempts_and_its_end_keeps_its_memory(
    tmp_path: Path, traced: Callable[[], None]
) -> None:
    run = WrittenRun(tmp_path / "runs", "night", epochs=EPOCHS, batches=BATCHES)
    sources = Sources(words=[], runs_dir=tmp_path / "runs", adoptions=lambda: (), inspector=Living(ProcessStatus.ALIVE))
    for second in range(0, HOUR_S, LOOK_S):
        epoch, within_s = 1 + second // EPOCH_S, second % EPOCH_S
        batch = max(1, within_s * FRAMES_PER_S)
        if within_s == 0:
            if epoch > 1:
                run.finish_epoch(epoch - 1, second, loss=5.0 / epoch)
                run.save_checkpoint(epoch - 1, second)
            run.start_epoch(epoch, second)
        if second in {CUT_OFF_S - 5, ANEW_S - 5}:  # killed, and resumed in the same epoch
            run.attempt += 1
            run.record()
            run.event(EventKind.RUN_STARTED, second, from_epoch=epoch, level="standard")
            run.start_epoch(epoch, second)
        for number in range(LOOK_S):
            run.series(epoch=epoch, batch=batch + number, loss=5.0 / epoch, grad_norm_p50=1.0, grad_norm_p99=2.0)
        if second % 120 == 0:
            run.bad_batch(epoch, batch, second)
        run.beat(second, epoch=epoch, batch=batch, epoch_elapsed_s=float(within_s))
        lines = picture(
            sources.look(START_TS + second), width=40 if second % (2 * LOOK_S) else 80, height=24, after_s=second
        )
        text = "\n".join(lines)
        assert f"epoch {epoch} of {EPOCHS}" in text, (second, text)
        assert f"batch {batch:,} of {BATCHES:,}" in text, (second, text)
        if second == HOUR_S // 3:
            traced()
    run.record(state=RunRecordState.FINISHED, exit_code=0)
    run.event(EventKind.RUN_FINISHED, HOUR_S, epochs=EPOCHS, fitness=0.4, seconds=float(HOUR_S))
    lines = picture(sources.look(START_TS + HOUR_S + 5), width=80, height=24, after_s=HOUR_S + 5)
    assert "finished" in "\n".join(lines)
    assert added_mib() < GROWTH_MIB
