"""A bot process that dies by itself at the Nth moment at which something became durable, or left for Slack."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ARMED, POINTS, DIES_AT = "armed", "points", "dies-at"
"""Files beside the bot: counting goes on while the first is there; names of what was passed, one a line; the number."""

SITE: Final = f"""
import os, pathlib, sqlite3, sys
_place = pathlib.Path(__file__).parents[1]
_passed = 0

def _point(name):
    global _passed
    if not (_place / "{ARMED}").exists():
        return
    _passed += 1
    with (_place / "{POINTS}").open("a") as stream:
        stream.write(name + "\\n")
    if _passed == int((_place / "{DIES_AT}").read_text()):
        os.kill(os.getpid(), 9)

class _Connection(sqlite3.Connection):
    began = 0

    def execute(self, sql, *values):
        word = sql.split(None, 1)[0].upper()
        if word == "BEGIN":
            self.began = self.total_changes
        ends = word == "COMMIT" and self.total_changes > self.began
        ends = ends or (word in ("INSERT", "UPDATE", "DELETE") and not self.in_transaction)
        if ends:
            _point("before " + sql[:50])
        answer = super().execute(sql, *values)
        if ends:
            _point("after " + sql[:50])
        return answer

_connect = sqlite3.connect
sqlite3.connect = lambda *args, **more: _connect(*args, **{{"factory": _Connection, **more}})
_fsync = os.fsync

def _synced(descriptor):
    _fsync(descriptor)
    _point("synced")

os.fsync = _synced
import aiohttp
_request = aiohttp.ClientSession._request

async def _asked(self, method, url, **more):
    name = str(url).rsplit("/", 1)[-1][:40]
    _point("before " + name)
    answer = await _request(self, method, url, **more)
    _point("after " + name)
    return answer

aiohttp.ClientSession._request = _asked
"""
"""``sitecustomize`` of such a process."""


def install(folder: Path, python_path: str) -> str:
    """The ``PYTHONPATH`` of a bot in ``folder`` that counts; it dies nowhere before :func:`arm`."""
    site = folder / "site"
    site.mkdir(parents=True)
    (site / "sitecustomize.py").write_text(SITE)
    return f"{site}:{python_path}"


def arm(folder: Path, dies_at: int) -> None:
    """From now on it counts, and dies at that point; at none when it is 0."""
    (folder / DIES_AT).write_text(str(dies_at))
    (folder / ARMED).touch()


def disarm(folder: Path) -> None:
    """It counts no more."""
    (folder / ARMED).unlink(missing_ok=True)


def passed(folder: Path) -> list[str]:
    """The names of what was passed so far."""
    path = folder / POINTS
    return path.read_text().splitlines() if path.exists() else []
