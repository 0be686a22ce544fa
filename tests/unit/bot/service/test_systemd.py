"""What reaches systemd's socket, and what happens without one."""

from __future__ import annotations

import configparser
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainmaster.bot.service.systemd import ServiceNotifier

UNIT = Path(__file__).parents[4] / "docs" / "trainmaster.service"
OF_ALL_ITS_PROCESSES = ("Memory", "CPUQuota", "Tasks", "Limit", "IO", "AllowedCPUs", "PrivateTmp", "PrivateDevices")
"""Settings of a unit that begin so hold for each process that it started, or for all of them together."""


def test_a_training_of_the_unit_has_no_limit_and_does_not_take_the_bot_along() -> None:
    unit = configparser.ConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment]  # the letters as they are
    unit.read_string(UNIT.read_text(encoding="utf-8"))
    service = dict(unit["Service"])
    assert (service["KillMode"], service["OOMPolicy"]) == ("process", "continue")
    assert [name for name in service if name.startswith(OF_ALL_ITS_PROCESSES)] == []


def test_service_is_started_again_until_the_disk_of_its_runs_is_there() -> None:
    """systemd gives up by itself after a minute of starts that fail, and a file server takes longer."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    assert {"Restart=always", "StartLimitIntervalSec=0"} <= set(lines)


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Its end of the socket, and the address as it stands in the environment."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@trainmaster-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        sock.settimeout(5)
        yield sock, name


def test_each_word_is_one_datagram(systemd: tuple[socket.socket, str]) -> None:
    sock, address = systemd
    notifier = ServiceNotifier({"NOTIFY_SOCKET": address})
    notifier.ready("connecting")
    notifier.alive("watching 3 runs")
    notifier.status("no check for 300 s")
    notifier.stopping()
    assert [sock.recv(1000).decode() for _ in range(4)] == [
        "READY=1\nSTATUS=connecting",
        "WATCHDOG=1\nSTATUS=watching 3 runs",
        "STATUS=no check for 300 s",
        "STOPPING=1",
    ]


@pytest.mark.parametrize(
    ("environ", "watchdog_s"),
    [
        pytest.param({}, None, id="no systemd"),
        pytest.param({"NOTIFY_SOCKET": "/run/x"}, None, id="no watchdog"),
        pytest.param({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "90000000"}, 90.0, id="asked"),
        pytest.param({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "7"}, 90.0, id="of us"),
        pytest.param({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "8"}, None, id="other"),
        pytest.param({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "soon"}, None, id="no number"),
        pytest.param({"WATCHDOG_USEC": "90000000"}, None, id="no socket"),
    ],
)
def test_how_often_systemd_wants_to_hear_of_it(environ: dict[str, str], watchdog_s: float | None) -> None:
    assert ServiceNotifier(environ, pid=7).watchdog_s == watchdog_s


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}], ids=["none", "gone"])
def test_without_a_socket_nothing_happens(environ: dict[str, str]) -> None:
    notifier = ServiceNotifier(environ)
    notifier.ready("x")
    notifier.stopping()
