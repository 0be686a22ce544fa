"""Socket Mode, the server's side: connections, envelopes and their acknowledgement, retries of events, faults."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import struct
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from aiohttp import WSMsgType, web

from trainmaster.bot.workspace.blocks import limits
from trainmaster.bot.workspace.state.people import APP_ID

_CLOSE_TIMEOUT_S: Final = 1.0
"""How long a closing connection waits for the other side to say goodbye."""


class EnvelopeDelivery(StrEnum):
    """What became of an envelope. The words are those that Slack shows to the person who waits."""

    ACKED = "acked"
    TIMED_OUT = "operation_timeout"
    NO_SOCKET = "dispatch_failed"


class DisconnectReason(StrEnum):
    """Why Slack asks an app to go."""

    WARNING = "warning"
    REFRESH_REQUESTED = "refresh_requested"
    TOO_MANY_WEBSOCKETS = "too_many_websockets"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeAnswer:
    """The answer of the app to one envelope."""

    delivery: EnvelopeDelivery
    payload: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """An envelope that the app did not acknowledge in time."""

    kind: str
    delivery: EnvelopeDelivery
    payload: dict[str, Any]


@dataclass(slots=True, kw_only=True, eq=False)
class _Connection:
    ws: web.WebSocketResponse
    request: web.Request
    is_draining: bool = False
    thawed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_usable(self) -> bool:
        transport = self.request.transport
        return not (self.is_draining or self.ws.closed or transport is None or transport.is_closing())


@dataclass(slots=True, kw_only=True)
class SocketHub:
    """All connections of the app."""

    ack_timeout_s: float = limits.ACK_TIMEOUT_S
    event_retry_delays_s: Sequence[float] = limits.EVENT_RETRY_DELAYS_S
    on_change: Callable[[], None] = lambda: None
    """Called when a connection came or went."""
    missed: list[Missed] = field(default_factory=list)
    num_accepted: int = 0
    """Connections since the start; a reconnect counts again."""
    _connections: list[_Connection] = field(default_factory=list)
    _waiting: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _turn: int = 0

    # -- connections

    @property
    def num_connected(self) -> int:
        """Connections that still get envelopes."""
        return sum(1 for connection in self._connections if connection.is_usable)

    async def wait_connected(self, *, accepted: int = 1, timeout_s: float = 10.0) -> None:
        """Return when ``accepted`` connections were made since the start and one of them is usable."""
        async with asyncio.timeout(timeout_s), self._changed:
            await self._changed.wait_for(lambda: self.num_accepted >= accepted and self.num_connected > 0)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Run one connection until it ends."""
        ws = web.WebSocketResponse(autoping=False, timeout=_CLOSE_TIMEOUT_S, max_msg_size=4 * 1024 * 1024)
        await ws.prepare(request)
        connection = _Connection(ws=ws, request=request)
        connection.thawed.set()
        if len(self._connections) >= limits.SOCKETS:
            await self._tell_to_go(connection, DisconnectReason.TOO_MANY_WEBSOCKETS)
            await ws.close()
            return ws
        self._connections.append(connection)
        try:
            await ws.send_json(
                {
                    "type": "hello",
                    "num_connections": len(self._connections),
                    "debug_info": {"host": "local-workspace", "build_number": 1, "approximate_connection_time": 18060},
                    "connection_info": {"app_id": APP_ID},
                }
            )
            self.num_accepted += 1
            await self._announce()
            await self._read(connection)
        finally:
            self._connections.remove(connection)
            await self._announce()
        return ws

    async def _announce(self) -> None:
        self.on_change()
        async with self._changed:
            self._changed.notify_all()

    async def _read(self, connection: _Connection) -> None:
        async for message in connection.ws:
            await connection.thawed.wait()
            if message.type is WSMsgType.PING:
                await connection.ws.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                self._take_ack(message.data)

    def _take_ack(self, text: str) -> None:
        try:
            answer = json.loads(text)
        except ValueError:
            return
        if not isinstance(answer, dict):
            return
        waiting = self._waiting.pop(str(answer.get("envelope_id")), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.get("payload"))

    def _pick(self) -> _Connection | None:
        usable = [connection for connection in self._connections if connection.is_usable]
        if not usable:
            return None
        self._turn += 1
        return usable[self._turn % len(usable)]

    # -- envelopes

    async def send(self, kind: str, payload: dict[str, Any], **extra: Any) -> EnvelopeAnswer:
        """Send one envelope and wait for its acknowledgement, at most ``ack_timeout_s``."""
        connection = self._pick()
        if connection is None:
            return self._miss(kind, EnvelopeDelivery.NO_SOCKET, payload)
        envelope_id = secrets.token_hex(16)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[envelope_id] = answer
        envelope = {"envelope_id": envelope_id, "type": kind, "payload": payload, **extra}
        try:
            if connection.thawed.is_set():
                await connection.ws.send_json(envelope)
            async with asyncio.timeout(self.ack_timeout_s):
                return EnvelopeAnswer(delivery=EnvelopeDelivery.ACKED, payload=await answer)
        except TimeoutError:
            return self._miss(kind, EnvelopeDelivery.TIMED_OUT, payload)
        except (ConnectionError, RuntimeError):
            return self._miss(kind, EnvelopeDelivery.NO_SOCKET, payload)
        finally:
            self._waiting.pop(envelope_id, None)

    def _miss(self, kind: str, delivery: EnvelopeDelivery, payload: dict[str, Any]) -> EnvelopeAnswer:
        self.missed.append(Missed(kind=kind, delivery=delivery, payload=payload))
        return EnvelopeAnswer(delivery=delivery)

    def send_event(self, payload: dict[str, Any]) -> None:
        """Send an event in the background; when it is not acknowledged, again after each of the retry delays."""
        self._spawn(self._send_event(payload))

    async def _send_event(self, payload: dict[str, Any]) -> None:
        reason = ""
        for attempt, delay_s in enumerate((None, *self.event_retry_delays_s)):
            if delay_s is not None:
                await asyncio.sleep(delay_s)
            outcome = await self.send(
                "events_api", payload, accepts_response_payload=False, retry_attempt=attempt, retry_reason=reason
            )
            if outcome.delivery is EnvelopeDelivery.ACKED:
                return
            reason = "timeout" if outcome.delivery is EnvelopeDelivery.TIMED_OUT else "connection_failed"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- faults on demand

    def freeze(self) -> None:
        """Neither answer nor send on the connections of now, without closing them; new connections work."""
        for connection in self._connections:
            connection.thawed.clear()

    def thaw(self) -> None:
        """Work again; what was not sent meanwhile stays lost."""
        for connection in self._connections:
            connection.thawed.set()

    def reset(self) -> None:
        """Break every connection off with a TCP reset."""
        for connection in list(self._connections):
            transport = connection.request.transport
            if transport is None:
                continue
            raw = transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()

    async def ask_to_reconnect(self, reason: DisconnectReason = DisconnectReason.REFRESH_REQUESTED) -> None:
        """Tell every connection to go, and send nothing to it any more."""
        for connection in list(self._connections):
            await self._tell_to_go(connection, reason)

    async def _tell_to_go(self, connection: _Connection, reason: DisconnectReason) -> None:
        connection.is_draining = True
        await connection.ws.send_json(
            {"type": "disconnect", "reason": reason.value, "debug_info": {"host": "local-workspace"}}
        )

    async def close(self) -> None:
        """End every connection; events that still wait for a retry are dropped."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.disconnect()

    async def disconnect(self) -> None:
        """End every connection; events go on being retried."""
        self.thaw()
        for connection in list(self._connections):
            await connection.ws.close()
