"""Makes ``.venv`` for ``make``: Python and make are enough, and what is there is not fetched twice.

Standard library only; run by the Python that the environment is made of. Two at once: the second waits. An install that
was broken off is taken up where it was.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
READY = VENV / ".ready"
LOCK = ROOT / "requirements.lock"
SOURCES = (ROOT / "pyproject.toml", LOCK)
HEADLESS_LOCK = ROOT / ".ci" / "opencv-headless.lock"
NO_NETWORK = re.compile(
    r"NewConnectionError|NameResolutionError|Temporary failure in name resolution|Network is unreachable"
    r"|ConnectTimeoutError|ProxyError|Failed to establish a new connection|\(from versions: none\)",
)
WRONG_HASH = "DO NOT MATCH THE HASHES"
LARGE = re.compile(r"nvidia-(?!ml-py)")
USED = (
    *("torch._inductor.config", "torchvision", "matplotlib.pyplot", "ultralytics.engine.trainer", "sklearn.datasets"),
    *("slack_bolt.async_app", "trainmaster.bot.app", "trainmaster.trainer.guard", "pytest"),
)
WHOLE, HEADLESS = "opencv-python", "opencv-python-headless"


class InstallError(Exception):
    """Why it could not be done, in words."""


def main() -> int:
    """0 when ``.venv`` is ready; 2 when it cannot be made, told in a sentence."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whatever Python the machine has runs this first
        version = ".".join(map(str, sys.version_info[:3]))
        print(
            f"python-too-old: Trainmaster needs Python 3.11 or newer, this is {version}. Hint: make PYTHON=python3.12"
        )
        return 2
    with (ROOT / ".venv.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_ready():
            return 0
        print("Installing into .venv: PyTorch is large, this takes some minutes the first time.", flush=True)
        try:
            make_environment()
            install_locked()
            install("--no-deps", "--no-build-isolation", "-e", str(ROOT))
            make_opencv_work()
            compile_what_is_used()
        except InstallError as problem:
            print(problem, file=sys.stderr)
            return 2
        READY.touch()
    return 0


def is_ready() -> bool:
    """The environment is newer than what it is made from."""
    return READY.exists() and all(READY.stat().st_mtime >= source.stat().st_mtime for source in SOURCES)


def make_environment() -> None:
    """``.venv`` has a Python and a pip that work; one that was broken off is finished, its packages kept.

    Raises:
        InstallError: this Python cannot make environments.
    """
    if PYTHON.exists() and run(PYTHON, "-m", "pip", "--version").returncode == 0:
        return
    try:
        venv.create(VENV, with_pip=True)
    except (subprocess.CalledProcessError, OSError) as error:
        raise InstallError(
            f"no-venv: {sys.executable} cannot make a virtual environment: {error}. "
            "Hint: Debian and Ubuntu: apt-get install python3-venv"
        ) from error


def install_locked() -> None:
    """Every package of the lock. NVIDIA's libraries, more bytes than all others, are unpacked beside them, by a pip of
    their own: the lock names all that is needed, so neither looks for more.

    Raises:
        InstallError: as :func:`install`.
    """
    packages = re.split(r"^(?=\w)", LOCK.read_text("utf-8"), flags=re.MULTILINE)
    large, others = ([one for one in packages if bool(LARGE.match(one)) == wanted] for wanted in (True, False))
    with ThreadPoolExecutor() as pool, tempfile.TemporaryDirectory() as folder:
        begun = []
        for name, chosen in (("large", large), ("others", others)):
            part = Path(folder) / name
            part.write_text("".join(chosen), encoding="utf-8")
            begun.append(pool.submit(install, "--require-hashes", "--no-deps", "-r", str(part)))
        for one in begun:
            one.result()


def install(*what: str) -> None:
    """What pip is asked for is installed.

    Raises:
        InstallError: it is not; without a network, and for a file that is not the one of the lock, in one sentence.
    """
    asked = ("-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-compile", "--retries", "2")
    done = run(PYTHON, *asked, *what)
    if done.returncode == 0:
        return
    if NO_NETWORK.search(done.stdout + done.stderr):
        raise InstallError(
            "no-network: the packages could not be fetched. Hint: make goes on from here once there is a network; "
            "behind a mirror, set PIP_INDEX_URL."
        )
    if WRONG_HASH in done.stderr:
        culprit = re.search(r"^\s+(\S+==\S+|\S+) from ", done.stderr, re.MULTILINE)
        raise InstallError(
            f"wrong-hash: {culprit[1] if culprit else 'a package'} as the index served it is not the file that "
            "requirements.lock names; nothing of it was installed. Hint: unset PIP_EXTRA_INDEX_URL and PIP_FIND_LINKS, "
            "clear pip's cache (pip cache purge), or take another mirror."
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    raise InstallError("install: " + "\n".join(lines[-12:]))


def make_opencv_work() -> None:
    """``import cv2`` works. Where the libraries of a desktop (libGL) are missing, the headless build of the same
    version takes the place of the other, as a whole; a record of its name stays, so that pip does not fetch it again.

    Raises:
        InstallError: neither can be loaded.
    """
    if (first := run(PYTHON, "-c", "import cv2")).returncode == 0:
        return
    print("OpenCV's desktop libraries (libGL) are missing: the headless build takes its place.", flush=True)
    find = f"from importlib.metadata import version; print(version({WHOLE!r}))"
    version = run(PYTHON, "-c", find).stdout.strip()
    run(PYTHON, "-m", "pip", "uninstall", "--yes", "--quiet", WHOLE, HEADLESS)
    wanted = f"{HEADLESS}=={version}" if version else HEADLESS
    locked = HEADLESS_LOCK.read_text("utf-8") if HEADLESS_LOCK.exists() else ""
    exact = version and f"{wanted} " in locked
    install("--no-deps", *(("--require-hashes", "-r", str(HEADLESS_LOCK)) if exact else (wanted,)))
    if version:
        leave_record(version)
    again = run(PYTHON, "-c", "import cv2")
    if again.returncode != 0:
        raise InstallError(f"opencv: cv2 cannot be loaded: {(again.stderr or first.stderr).strip().splitlines()[-1]}")


def compile_what_is_used() -> None:
    """What a bot and a training load is compiled as Python loads it here, once, and not by several processes that start
    at a time. pip would compile each of twelve thousand modules, one after the other: that takes four times as long."""
    each = "import contextlib, importlib, sys\nfor name in sys.argv[1:]:\n with contextlib.suppress(Exception): "
    run(PYTHON, "-c", each + "importlib.import_module(name)", *USED)


def leave_record(version: str) -> None:
    """pip takes ``opencv-python`` for installed, which is what Ultralytics asks for by name."""
    where = run(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    record = Path(where) / f"opencv_python-{version}.dist-info"
    shutil.rmtree(record, ignore_errors=True)
    record.mkdir()
    about = f"Metadata-Version: 2.1\nName: {WHOLE}\nVersion: {version}\nSummary: stand-in, see {HEADLESS}\n"
    (record / "METADATA").write_text(about, encoding="utf-8")
    (record / "INSTALLER").write_text("trainmaster\n", encoding="utf-8")
    names = ("METADATA", "INSTALLER", "RECORD")
    (record / "RECORD").write_text("".join(f"{record.name}/{name},,\n" for name in names), encoding="utf-8")


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """How it ended and what it said."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    words = [str(word) for word in argv]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    raise SystemExit(main())
