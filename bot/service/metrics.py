"""Numbers for Prometheus at ``http://METRICS_ADDRESS/metrics``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from aiohttp import web

from trainmaster.bot.core.metrics import Family
from trainmaster.bot.errors import TrainmasterError

MAX_AGE_S: Final = 120.0
"""Older numbers are not given out: a monitoring system would take them for those of now."""
_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_FAREWELL_S: Final = 1.0


class MetricsPage:
    """Serves what was last collected. A scrape reads a text that is already there: it asks no store and no run, and
    however often it comes it costs the bot next to nothing."""

    def __init__(
        self,
        address: tuple[str, int],
        collect: Callable[[], Iterable[Family]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._collect = collect
        self._monotonic = monotonic
        self._text = b""
        self._collected_s: float | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """The address is listened on.

        Raises:
            TrainmasterError: it can't be: somebody else has the port, or it is none of this host.
        """
        site = web.Application()
        site.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(site, access_log=None, shutdown_timeout=_FAREWELL_S)
        await self._runner.setup()
        host, port = self._address
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self.close()
            reason = os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
            raise TrainmasterError(
                "metrics-address",
                f"METRICS_ADDRESS {shown(self._address)} can't be listened on: {reason}.",
                "set another port, or leave METRICS_ADDRESS out for none",
            ) from error

    async def refresh(self) -> None:
        """From now on the page shows what holds now. What is raised leaves it as it was."""
        self._text = rendered(self._collect())
        self._collected_s = self._monotonic()

    async def close(self) -> None:
        """Nothing is listened on any more. May be repeated."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, _: web.Request) -> web.Response:
        if self._collected_s is None or self._monotonic() - self._collected_s > MAX_AGE_S:
            return web.Response(
                status=503, text="metrics-old: nothing was collected of late; the bot's log says why.\n"
            )
        return web.Response(body=self._text, headers={"Content-Type": _TYPE})


def shown(address: tuple[str, int]) -> str:
    """As people write it: an IPv6 address in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def rendered(families: Iterable[Family]) -> bytes:
    """The families in Prometheus' text format, label values escaped."""
    # Loaded by those who want it only: the bot's start is measured.
    from prometheus_client import CollectorRegistry, Metric, generate_latest  # noqa: PLC0415
    from prometheus_client.registry import Collector  # noqa: PLC0415

    class Once(Collector):
        def collect(self) -> Iterator[Metric]:
            for one in families:
                # The library adds the ending to the samples of a counter by itself.
                metric = Metric(one.name.removesuffix("_total"), one.about, one.kind)
                for values, number in one.samples.items():
                    metric.add_sample(one.name, dict(zip(one.labels, values, strict=True)), number)
                yield metric

        def describe(self) -> Iterator[Metric]:
            return iter(())

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry)
