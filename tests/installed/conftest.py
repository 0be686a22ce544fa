"""The wheel as a user gets it, in an environment of its own. Nothing is downloaded: what it depends on is linked in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.support.made_once import made_once

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = {"trainmaster": "trainmaster", "bot": "trainmaster/bot", "commands": "trainmaster/commands"} | {
    "trainer": "trainmaster/trainer"
}
HEAVY: Final = ("torch", "torchvision", "ultralytics", "sklearn", "matplotlib", "fsspec")
"""What the extras of the package bring."""
LIGHT: Final = ("trainmaster", *HEAVY)
"""What the environment of a bot does not have from here."""

HOSTILE: Final = (
    *("trainer", "bot", "commands", "tests", "trainmaster", "torch", "numpy", "ultralytics", "cv2", "yaml"),
    *("aiohttp", "slack_bolt", "slack_sdk", "psutil", "pydantic", "apscheduler", "watchfiles", "sitecustomize"),
    *(name for name in sys.stdlib_module_names if not name.startswith("_")),
)
"""Names of a user's own files that hide a module when their folder comes first on the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment with the wheel in it."""

    python: Path
    site: Path

    @property
    def script(self) -> Path:
        return self.python.with_name("trainmaster")

    def run(self, *argv: str | Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
        """What a command says, without a trace of this checkout in its environment."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            [str(word) for word in argv],
            cwd=cwd,
            env={**environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (built,) = (made_once(tmp_path_factory, "wheel", _build) / "dist").glob("*.whl")
    return built


def _build(folder: Path) -> None:
    """From a copy: building leaves folders behind."""
    copy = folder / "checkout"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    out = folder / "dist"
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", build, str(out)], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _of(folder: Path) -> Environment:
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    return Environment(python=folder / "bin" / "python", site=site)


def _make(folder: Path, wheel: Path, hidden: tuple[str, ...]) -> Environment:
    venv.create(folder, with_pip=False)
    made = _of(folder)
    shared = folder / "shared"
    shared.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name.split("-")[0].split(".")[0] not in hidden and not entry.name.startswith("__editable__"):
            (shared / entry.name).symlink_to(entry)
    installing = [sys.executable, "-m", "pip", "--python", str(made.python), "install", "--no-deps", "--no-index", "-q"]
    subprocess.run([*installing, str(wheel)], check=True, capture_output=True)
    (made.site / "shared.pth").write_text(f"{shared}\n", encoding="utf-8")  # last, and without its own .pth files
    return made


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With everything that the extras bring."""
    return _make(tmp_path_factory.mktemp("installed") / "env", wheel, ("trainmaster",))


@pytest.fixture(scope="session")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """As on the bot's host: no torch, no Ultralytics, no data set."""
    folder = made_once(tmp_path_factory, "light", lambda folder: _make(folder / "env", wheel, LIGHT)) / "env"
    return _of(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """A folder full of a user's own files, each of which says so when it is executed."""

    folder: Path

    @property
    def executed(self) -> list[str]:
        log = self.folder.parent / "executed"
        return log.read_text(encoding="utf-8").split() if log.exists() else []

    def lay(self, *names: str) -> None:
        code = f"open({str(self.folder.parent / 'executed')!r}, 'a').write(__name__ + '\\n')\n"
        for name in names:
            (self.folder / f"{name}.py").write_text(code, encoding="utf-8")


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    (tmp_path / "theirs").mkdir()
    made = Trap(folder=tmp_path / "theirs")
    made.lay(*HOSTILE)
    return made
