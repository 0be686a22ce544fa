"""What a driver promises, whichever kind of place a run lives in: both kinds pass the same tests."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.slurm import Cluster, needs_slurm, until
from trainmaster.bot.core.run.facts import Identity, ProcessFact, ProcessIdentity, ProcessStatus
from trainmaster.bot.core.run.identity import decode_identity, encode_identity, same_start
from trainmaster.bot.core.run.launch_spec import Force, LaunchSpec
from trainmaster.bot.drivers.local.driver import LocalDriver
from trainmaster.bot.drivers.routing import RoutingDriver
from trainmaster.bot.drivers.slurm.driver import SlurmDriver
from trainmaster.bot.errors import DriverError
from trainmaster.bot.operations.ports import Driver

READY = "import signal, sys, time; print('ready', flush=True); "
SLEEP = READY + "signal.signal(15, lambda *_: sys.exit(3)); print('armed', flush=True); time.sleep(600)"
DEAF = READY + "signal.signal(15, signal.SIG_IGN); print('armed', flush=True); time.sleep(600)"


@dataclass
class Place:
    """Where runs live: makes drivers, one for each life of the bot."""

    folder: Path
    driver_of: Callable[[Path], RoutingDriver]
    options: tuple[str, ...] | None
    driver: Driver

    def spec(self, code: str, *, key: str = "op-1") -> LaunchSpec:
        return LaunchSpec(
            key=key,
            argv=(sys.executable, "-c", code),
            cwd=self.folder,
            log=self.folder / "train.log",
            env={"WORD": "it's given"},
            run="0123456789ab",
            options=self.options,
        )

    def armed(self) -> bool:
        log = self.folder / "train.log"
        return log.exists() and "armed" in log.read_text()

    def over(self, identity: Identity, *, timeout_s: float = 30.0) -> ProcessFact:
        def ended() -> ProcessFact | None:
            fact = self.driver.inspect(identity)
            return fact if fact.over else None

        return until(ended, what="the end", timeout_s=timeout_s)


@pytest.fixture(
    params=[
        "process",
        pytest.param("job", marks=[pytest.mark.slurm, pytest.mark.cluster, pytest.mark.core, needs_slurm]),
    ],
)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place of either kind; nothing is left in it."""
    if request.param == "process":
        driver = _local(tmp_path)
        yield Place(tmp_path, _local, None, driver)
        for process, child in driver.local._children.items():
            driver.local.signal(process, signal.SIGKILL, group=True)
            child.wait(10)
        return
    made: Cluster = request.getfixturevalue("slurm")
    monkeypatch.setenv("SLURM_CONF", made.environ["SLURM_CONF"])
    yield Place(tmp_path, _routing, ("--mem-per-cpu=100",), _routing(tmp_path))
    made.clear()


def _local(folder: Path) -> RoutingDriver:
    return RoutingDriver(LocalDriver(folder / "launches"), None)


def _routing(folder: Path) -> RoutingDriver:
    return RoutingDriver(LocalDriver(folder / "launches"), SlurmDriver(folder / "launches", max_age_s=0.2))


def test_launched_trainer_lives_and_its_output_is_kept(place: Place) -> None:
    (place.folder / "train.log").write_text("attempt 1\n")
    one = place.driver.launch(place.spec("import os; print(os.environ['WORD']); " + SLEEP))
    assert not place.driver.inspect(one).over
    until(place.armed, what="its output")
    assert (place.folder / "train.log").read_text().splitlines()[:2] == ["attempt 1", "it's given"]
    until(lambda: place.driver.inspect(one).status is ProcessStatus.ALIVE, what="life")


def test_second_launch_with_the_same_key_finds_the_first(place: Place) -> None:
    first = place.driver.launch(place.spec(SLEEP))
    assert place.driver.launch(place.spec(SLEEP)) == first
    assert place.driver.find("op-1") == first


def test_launch_of_a_bot_that_died_is_found_by_its_key(place: Place) -> None:
    first = place.driver.launch(place.spec(SLEEP))
    for record in (place.folder / "launches").glob("op-1*.json"):
        record.unlink()
    another_life = place.driver_of(place.folder)
    assert same_start(another_life.launch(place.spec(SLEEP)), first)
    found = another_life.find("op-1")
    assert found is not None
    assert same_start(found, first)


def test_key_that_nothing_was_launched_with_is_found_nowhere(place: Place) -> None:
    assert place.driver.find("op-none") is None


@pytest.mark.parametrize(
    ("code", "exit_code", "signum"),
    [
        pytest.param("raise SystemExit(5)", 5, None, id="exit code"),
        pytest.param("pass", 0, None, id="finished"),
        pytest.param("import os; os.kill(os.getpid(), 9)", None, 9, id="signal"),
    ],
)
def test_end_is_told_as_it_was(place: Place, code: str, exit_code: int | None, signum: int | None) -> None:
    one = place.driver.launch(place.spec(code))
    fact = place.over(one)
    assert (fact.exit_code, fact.signal) == (exit_code, signum)
    assert not place.driver.stop(one, Force.ASK)


def test_launch_is_repeated_once_the_first_is_over(place: Place) -> None:
    first = place.driver.launch(place.spec("raise SystemExit(1)"))
    place.over(first)
    second = place.driver.launch(place.spec(SLEEP))
    assert not same_start(second, first)
    assert not place.driver.inspect(second).over


def test_trainer_that_is_asked_saves_and_ends_with_its_own_code(place: Place) -> None:
    one = place.driver.launch(place.spec(SLEEP))
    until(place.armed, what="its output")
    assert place.driver.stop(one, Force.ASK)
    assert place.over(one).exit_code == 3


def test_trainer_that_is_deaf_outlives_the_question_and_not_the_kill(place: Place) -> None:
    one = place.driver.launch(place.spec(DEAF))
    until(place.armed, what="its output")
    assert place.driver.stop(one, Force.ASK)
    time.sleep(1)
    assert not place.driver.inspect(one).over
    assert place.driver.stop(one, Force.KILL)
    assert place.over(one).signal == 9


def test_nothing_survives_an_end(place: Place) -> None:
    one = place.driver.launch(place.spec(SLEEP))
    until(place.armed, what="its output")
    place.driver.stop(one, Force.KILL)
    place.over(one)
    until(lambda: place.driver.survivors(one) == (), what="no survivor")


def test_identity_survives_the_journal(place: Place) -> None:
    one = place.driver.launch(place.spec(SLEEP))
    again = decode_identity(json.loads(json.dumps(encode_identity(one))))
    assert again == one
    assert not place.driver_of(place.folder).inspect(again).over


def test_place_that_cannot_be_asked_is_unknown_and_stops_nothing(place: Place) -> None:
    one = place.driver.launch(place.spec(SLEEP))
    until(place.armed, what="its output")
    if isinstance(one, ProcessIdentity):
        nowhere, elsewhere = place.driver, replace(one, host="elsewhere")
    else:
        nowhere, elsewhere = RoutingDriver(LocalDriver(place.folder / "launches"), None), one
    assert nowhere.inspect(elsewhere).status is ProcessStatus.UNKNOWN
    with pytest.raises(DriverError):
        nowhere.stop(elsewhere, Force.KILL)
    assert not place.driver.inspect(one).over
