from __future__ import annotations

from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from trainmaster.bot.service.watchdog import Health, Watchdog

WELL = Health(
    since_tick_s=5.0,
    since_check_s=5.0,
    check_limit_s=210.0,
    oldest_pending_s=None,
    outbox_readable=True,
    socket_alive=True,
)


@pytest.mark.parametrize(
    ("health", "num_faults"),
    [
        pytest.param(WELL, 0, id="well"),
        pytest.param(replace(WELL, oldest_pending_s=60.0), 0, id="messages under way"),
        pytest.param(replace(WELL, since_tick_s=None), 1, id="never ticked"),
        pytest.param(replace(WELL, since_tick_s=211.0), 1, id="tick too old"),
        pytest.param(replace(WELL, since_check_s=None), 0, id="no run yet"),
        pytest.param(replace(WELL, since_check_s=211.0), 1, id="one run not checked"),
        pytest.param(replace(WELL, outbox_readable=False), 1, id="database unreadable"),
        pytest.param(replace(WELL, oldest_pending_s=901.0), 1, id="nothing gets out"),
        pytest.param(replace(WELL, socket_alive=False), 1, id="socket silent"),
    ],
)
async def test_only_a_healthy_bot_pings(health: Health, num_faults: int) -> None:
    pings: list[str] = []

    async def ping(request: web.Request) -> web.Response:
        pings.append(request.path)
        return web.Response()

    site = web.Application()
    site.router.add_get("/ping", ping)
    async with TestServer(site) as server:
        pinged = await Watchdog(str(server.make_url("/ping")), lambda: health).ping()
    assert len(health.faults()) == num_faults
    assert pinged is (num_faults == 0)
    assert len(pings) == (1 if pinged else 0)


@pytest.mark.parametrize(
    ("health", "restarted"),
    [
        pytest.param(replace(WELL, since_check_s=211.0), True, id="a run is not watched"),
        pytest.param(replace(WELL, since_tick_s=None), True, id="never ticked"),
        pytest.param(replace(WELL, socket_alive=False, oldest_pending_s=9999.0), False, id="Slack is down"),
    ],
)
def test_only_what_a_new_start_may_mend_concerns_systemd(health: Health, restarted: bool) -> None:
    assert bool(health.watching_faults()) is restarted


async def test_a_url_that_does_not_answer_is_no_ping_and_no_fault_of_ours() -> None:
    assert await Watchdog("http://127.0.0.1:9/ping", lambda: WELL).ping() is False
