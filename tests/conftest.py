"""Settings of the whole suite."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.leftovers import Leftovers, hear_signals_that_the_parent_ignored, new_session
from tests.support.order import balanced
from tests.support.ready_python import LOADED, ready_python
from tests.support.temporary import temporary_folder
from trainmaster.loading import loaded, loading

# A busy machine makes an example slow, not wrong.
settings.register_profile("trainmaster", deadline=None)
settings.load_profile("trainmaster")

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:
    # Each worker has its core; threads of their own would fight over both. Set before torch is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

TEMPORARY = None if WORKER else temporary_folder()
"""The workers have it from the environment."""

hear_signals_that_the_parent_ignored()
for name in (
    *("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"),
    *("PYTHONIOENCODING", "PYTHONUTF8", "PYTHONWARNINGS", "PYTHONSAFEPATH", "PYTHONUNBUFFERED", "PYTHONOPTIMIZE"),
):
    # What the terminal and the shell of whoever runs the tests are like says nothing about the product.
    os.environ.pop(name, None)
for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_", "SALLOC_"))]:
    # The tests may themselves run in a job of a cluster.
    del os.environ[name]
FILE = pytest.StashKey[tuple[Path, int]]()
"""That the last test came from, and how many of it have begun."""
LEFTOVERS = pytest.StashKey[Leftovers]()


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Python that has torch and what else any Ultralytics imports, and none of it: for trainings whose start is not
    what is tested."""
    with ready_python(tmp_path_factory.mktemp("ready"), *LOADED) as program:
        yield program


def pytest_addoption(parser: pytest.Parser) -> None:
    """Beside ``-m``, of which the last one given replaces those before: what make asks for holds whatever ARGS says."""
    group = parser.getgroup("trainmaster")
    group.addoption("--only", metavar="MARK", help="only tests of this mark, and of those only what -m takes")
    group.addoption("--leave-out", metavar="MARK", help="no tests of this mark, even if -m takes them")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Eleven thousand tests and all that they import are no garbage."""
    with loading():
        result = yield
        loaded()
    return result


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    only, left_out = config.getoption("--only"), config.getoption("--leave-out")
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        is_chosen = (only is None or item.get_closest_marker(only)) and not (
            left_out and item.get_closest_marker(left_out)
        )
        (chosen if is_chosen else others).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
    items[:] = balanced(chosen) if WORKER else chosen


class Fixtures:
    """A plugin, since pytest tells a conftest.py that is not at the root of no fixture of a session."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest) -> Iterator[None]:
        """What a fixture of a module or a session starts is not the first test's that asks for it."""
        if fixturedef.scope == "function":
            result = yield
            if fixturedef.argname == "tmp_path":
                request.config.stash[LEFTOVERS].claim(result)
            return result
        with request.config.stash[LEFTOVERS].wide():
            return (yield)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Fixtures())
    config.stash[LEFTOVERS] = Leftovers(session=new_session(), worker=WORKER or "main")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Once a test is over, so are its processes."""
    path, begun = item.config.stash.get(FILE, (None, 0))
    begun = begun + 1 if path == item.path else 1
    item.config.stash[FILE] = item.path, begun
    if begun <= 2:
        # What stands when a file begins stands to the end, and so do the modules that its first test has loaded.
        # Ultralytics collects garbage several times an epoch, and need not look through all of it each time.
        gc.collect()
        gc.freeze()
    leftovers = item.config.stash[LEFTOVERS]
    told = len(leftovers.told)
    with leftovers.test(item.nodeid):
        result = yield
    for line in leftovers.told[told:]:
        item.add_report_section("teardown", "left running, ended", line)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure can be told by a worker whatever stands in it: half a character of a folder's name is spelled out."""
    report = yield
    if WORKER and report.longrepr is not None:
        text = str(report.longrepr)
        if text.encode("utf-8", "replace").decode("utf-8") != text:
            report.longrepr = text.encode("utf-8", "backslashreplace").decode("utf-8")
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
    return report


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """The workers are gone; what a killed one left running is ended here, and what lies about removed."""
    result = yield
    if TEMPORARY is not None:
        session.config.stash[LEFTOVERS].end_all()
        shutil.rmtree(TEMPORARY, ignore_errors=True)
    return result
