"""What systemd wants to hear of a service: ready, alive, stopping (``sd_notify(3)``, freedesktop.org)."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

_LOG = logging.getLogger(__name__)


class ServiceNotifier:
    """Does nothing when systemd did not start this process, or did not ask. Never raises."""

    def __init__(self, environ: Mapping[str, str], pid: int | None = None) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A name in the abstract namespace is written with @ in place of the NUL it begins with.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        meant = environ.get("WATCHDOG_PID", "") in {"", str(os.getpid() if pid is None else pid)}
        microseconds = environ.get("WATCHDOG_USEC", "")
        given = self._address and meant and microseconds.isdigit() and int(microseconds) > 0
        self.watchdog_s: float | None = int(microseconds) / 1e6 if given else None
        """systemd ends and restarts the service when it hears nothing for this long."""

    def ready(self, status: str) -> None:
        """The service manager knows that the start-up is over."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self, status: str) -> None:
        """The work goes on."""
        self._send(f"WATCHDOG=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """What ``systemctl status`` shows, without a sign of life."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """It ends, and is not to be taken for dead."""
        self._send("STOPPING=1")

    def _send(self, lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(lines.encode(), self._address)
        except OSError as error:
            _LOG.warning("systemd-notify: %s: %s", self._address.replace("\0", "@"), error)
