"""``make`` on a machine with Python and make only: what ``.ci/install.py`` does for it, in a checkout of its own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(450)

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9/simple"
"""The discard port: nothing answers, as without a network."""


@pytest.fixture(scope="module")
def with_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with a pip of its own, made once: each takes seconds, and a copy is as good."""
    folder = tmp_path_factory.mktemp("environment") / ".venv"
    venv.create(folder, with_pip=True)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "install.py", folder / ".ci")
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    return folder


def python(checkout: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """What this Python says in the checkout, with pip's own settings and no package index within reach."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, *words],
        cwd=checkout,
        env={**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": NOWHERE, "PIP_RETRIES": "0", **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_without_a_network_it_says_so_in_a_sentence_and_can_be_asked_again(checkout: Path) -> None:
    for _ in range(2):
        said = python(checkout, ".ci/install.py")
        assert said.returncode == 2
        assert said.stderr.startswith("no-network: the packages could not be fetched."), said.stderr
        assert "Traceback" not in said.stderr
        assert not (checkout / ".venv" / ".ready").exists()
        assert (checkout / ".venv" / "bin" / "python").exists()


def test_an_environment_that_was_broken_off_is_finished_and_keeps_what_is_there(checkout: Path) -> None:
    venv.create(checkout / ".venv", with_pip=False)
    (site,) = (checkout / ".venv" / "lib").glob("python*/site-packages")
    (site / "fetched.py").touch()
    python(checkout, ".ci/install.py")
    inside = subprocess.run([checkout / ".venv" / "bin" / "python", "-m", "pip", "--version"], check=False)
    assert inside.returncode == 0
    assert (site / "fetched.py").exists()


def test_what_is_ready_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".ready").touch()
    said = python(checkout, ".ci/install.py")
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_a_newer_lock_is_installed(checkout: Path, with_pip: Path) -> None:
    shutil.copytree(with_pip, checkout / ".venv", symlinks=True)
    (checkout / ".venv" / ".ready").touch()
    later = (checkout / ".venv" / ".ready").stat().st_mtime + 5
    os.utime(checkout / "requirements.lock", (later, later))
    assert python(checkout, ".ci/install.py").returncode == 2


def distribution(folder: Path, name: str, code: str, *, module: str = "cv2") -> Path:
    """A wheel of version 1.0 with a ``module`` made of ``code``."""
    stem = name.replace("-", "_")
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    about = f"{stem}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}/__init__.py", code)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


BROKEN = "raise ImportError('libGL.so.1: cannot open shared object file')\n"


@pytest.mark.parametrize("desktop", [BROKEN, "whole = True\n"], ids=["without libGL", "with libGL"])
def test_the_headless_opencv_takes_the_place_of_one_that_cannot_be_loaded(
    checkout: Path, with_pip: Path, tmp_path: Path, desktop: str
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    whole = distribution(wheels, "opencv-python", desktop)
    distribution(wheels, "opencv-python-headless", "headless = True\n")
    (checkout / "requirements.lock").write_text("", encoding="utf-8")
    shutil.copytree(with_pip, checkout / ".venv", symlinks=True)
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PYTHONPATH": str(checkout / ".ci")}

    def inside(*words: str) -> str:
        done = subprocess.run(
            [checkout / ".venv" / "bin" / "python", *words],
            env={**os.environ, **local},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    inside("-m", "pip", "install", "-q", str(whole))
    done = python(checkout, "-c", "import install; install.make_opencv_work()", **local)
    assert done.returncode == 0, done.stderr
    headless = desktop == BROKEN
    assert ("headless" in done.stdout) == headless
    assert str(headless) in inside("-c", "import cv2; print(hasattr(cv2, 'headless'))")
    # pip takes the requirement of Ultralytics for met, so the next make fetches nothing.
    assert "already satisfied: opencv-python" in inside("-m", "pip", "install", "opencv-python")
    inside("-m", "pip", "uninstall", "-y", "opencv-python")
    assert ("headless" in inside("-c", "import cv2; print(dir(cv2))")) == headless


LOCKED = re.findall(r"^[^#\s].*(?:\n[ ].*)*", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE)


def test_every_package_of_the_lock_has_a_digest_and_no_place_that_it_comes_from() -> None:
    assert len(LOCKED) > 50
    assert [package.split()[0] for package in LOCKED if "--hash=sha256:" not in package] == []
    assert "://" not in (ROOT / "requirements.lock").read_text("utf-8")


def test_the_lock_holds_every_package_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras, asked, wanted = project["optional-dependencies"], [*project["dependencies"]], ["dev", "gpu"]
    while wanted:  # what make installs; a person asks for others by name
        asked += extras[wanted.pop()]
        wanted += [name for one in asked for name in re.findall(r"^trainmaster\[(\w+)\]", one)]
        asked = [one for one in asked if not one.startswith("trainmaster[")]
    names = {re.split(r"[<>=!~\[ ;]", one)[0].lower().replace("_", "-") for one in asked}
    locked = {package.partition("==")[0].lower().replace("_", "-") for package in LOCKED}
    assert names - locked == set()


def test_the_two_builds_of_opencv_are_of_one_version_and_never_both_asked_for() -> None:
    (whole,) = (package.split()[0] for package in LOCKED if package.startswith("opencv"))
    headless = (ROOT / ".ci" / "opencv-headless.lock").read_text("utf-8")
    assert f"\n{whole.replace('opencv-python', 'opencv-python-headless')} " in headless
    assert "--hash=sha256:" in headless


@pytest.mark.parametrize("true", [True, False], ids=["the file of the lock", "another file"])
def test_only_the_file_that_the_lock_names_is_installed(
    checkout: Path, with_pip: Path, tmp_path: Path, true: bool
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = distribution(wheels, "opencv-python", "whole = True\n")
    large = distribution(wheels, "nvidia-cufft", "", module="nvidia")
    digests = [
        hashlib.sha256(content).hexdigest()
        for content in (wheel.read_bytes() if true else b"another one", large.read_bytes())
    ]
    lock = (
        "# Made from: what\nopencv-python==1.0 \\\n    --hash=sha256:{}\nnvidia-cufft==1.0 \\\n    --hash=sha256:{}\n"
    )
    (checkout / "requirements.lock").write_text(lock.format(*digests), encoding="utf-8")
    shutil.copytree(with_pip, checkout / ".venv", symlinks=True)
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PYTHONPATH": str(checkout / ".ci")}
    act = "install.install_locked()"
    words = f"import install\ntry:\n {act}\nexcept install.InstallError as error:\n print(error)"
    done = python(checkout, "-c", words, **local)
    assert done.returncode == 0, done.stderr
    packages = {path.name for path in (checkout / ".venv").glob("lib/*/site-packages/*")}
    assert ("cv2" in packages) == true
    assert "nvidia" in packages  # by a pip of its own
    assert done.stdout.startswith("wrong-hash: opencv-python==1.0") != true, done.stdout
