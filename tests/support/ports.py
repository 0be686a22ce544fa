"""Ports of this machine, for tests."""

from __future__ import annotations

import socket


def free_port() -> int:
    """One that nobody listened on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
