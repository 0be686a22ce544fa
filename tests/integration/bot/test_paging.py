"""Pages go out through the real Apprise to a server of this machine; the doctor and test-alert try the targets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.bot.app import App
from trainmaster.bot.cli.doctor import examine
from trainmaster.bot.cli.test_alert import call
from trainmaster.bot.core.alerts.page import PageKind
from trainmaster.bot.core.conversation.message import Mark
from trainmaster.bot.errors import TrainmasterError
from trainmaster.bot.paging.apprise_sender import AppriseSender, service_of
from trainmaster.bot.paging.faults import PageError, PageUnsureError
from trainmaster.bot.paging.target import read_targets
from trainmaster.bot.settings.model import load_settings

pytest.importorskip("apprise", reason="Apprise is not installed")


HANGS_UP = 0


class PagingServer(HTTPServer):
    """Keeps the JSON that it is sent; refuses with ``status`` when told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.taken: list[dict[str, Any]] = []
        self.status = 200
        self.answers_after_s = 0.0

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: PagingServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 200:
            self.server.taken.append(json.loads(body))
        if self.server.status == HANGS_UP:
            self.close_connection = True
            return
        time.sleep(self.server.answers_after_s)
        self.send_response(self.server.status)
        if self.server.status in range(300, 400):
            self.send_header("Location", "/sign-in")
        self.end_headers()

    def do_GET(self) -> None:
        """A page for people."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Quiet."""


@pytest.fixture
def server() -> Iterator[PagingServer]:
    with PagingServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def nobody_listens() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"json://hunter2:secret@127.0.0.1:{free.getsockname()[1]}/hook"


def test_a_page_and_its_end_arrive_with_their_kinds(server: PagingServer) -> None:
    (target,) = read_targets(server.url)
    sender = AppriseSender()
    sender.send(target, incident="1", kind=PageKind.FIRED, title="night: died", body="exit code 1")
    sender.send(target, incident="1", kind=PageKind.RESOLVED, title="night: runs again", body="Was: night: died")
    assert [(one["title"], one["message"], one["type"]) for one in server.taken] == [
        ("night: died", "exit code 1", "failure"),
        ("night: runs again", "Was: night: died", "success"),
    ]


@pytest.mark.parametrize("kind", ["json", "ntfy", "gotify"])
@pytest.mark.parametrize("status", [301, 302, 303])
def test_an_address_that_redirects_has_not_taken_the_page(server: PagingServer, status: int, kind: str) -> None:
    """What follows is a GET, which a sign-in page answers with 200."""
    server.status = status
    (target,) = read_targets(f"{kind}://127.0.0.1:{server.server_port}/hook")
    with pytest.raises(PageError) as refused:
        AppriseSender().send(target, incident="1", kind=PageKind.FIRED, title="night: died", body="exit code 1")
    assert not isinstance(refused.value, PageUnsureError)
    assert "its address redirects" in refused.value.message


@pytest.mark.parametrize("trouble", ["refuses", "is away"])
def test_a_target_that_does_not_take_it_is_an_error_without_its_address(server: PagingServer, trouble: str) -> None:
    server.status = 500
    (target,) = read_targets(server.url if trouble == "refuses" else nobody_listens())
    with pytest.raises(PageError) as raised:
        AppriseSender().send(target, incident="1", kind=PageKind.FIRED, title="a", body="b")
    assert not isinstance(raised.value, PageUnsureError)
    assert "127.0.0.1" not in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("trouble", ["answers late", "hangs up"])
def test_a_call_that_got_no_answer_may_have_rung(server: PagingServer, trouble: str) -> None:
    server.answers_after_s = 1.0 if trouble == "answers late" else 0.0
    server.status = HANGS_UP if trouble == "hangs up" else 200
    (target,) = read_targets(f"{server.url}?rto=0.2")
    with pytest.raises(PageUnsureError, match="may have rung") as raised:
        AppriseSender().send(target, incident="1", kind=PageKind.FIRED, title="a", body="b")
    assert "127.0.0.1" not in str(raised.value)


def test_an_answer_is_waited_for_as_long_as_we_say_and_not_as_apprise_does(server: PagingServer) -> None:
    (target,) = read_targets(server.url)
    assert AppriseSender(answer_within_s=20.0)._patient(service_of(target)).request_timeout == (4.0, 15.0)
    (own,) = read_targets(f"{server.url}?rto=7")
    assert AppriseSender()._patient(service_of(own)).request_timeout == (4.0, 7.0)


def test_pagerduty_joins_the_pages_of_one_alert() -> None:
    (target,) = read_targets("pagerduty://integration@api")
    one, again, other = (service_of(target, incident) for incident in ("a1", "a1", "b2"))
    assert (one.dedup, one.action) == ("a1", "map")
    assert again.dedup == one.dedup != other.dedup
    (own,) = read_targets("pagerduty://integration@api?dedup=mine")
    assert service_of(own, "a1").dedup == "mine"


async def test_the_doctor_tries_each_target_and_shows_no_secret(server: PagingServer) -> None:
    text = f"{server.url} U0ANNA={nobody_listens()} nonsense://x"
    items = [item for item in await examine({"PAGE_URLS": text}, None, time.time) if "PAGE_URLS" in item.text]
    assert [(item.text, item.mark) for item in items] == [
        ("PAGE_URLS 1: json", Mark.DONE),
        ("PAGE_URLS 2: json of U0ANNA", Mark.FAILED),
        ("PAGE_URLS 3: nonsense", Mark.FAILED),
    ]
    assert "its host does not answer" in items[1].detail
    assert "no address that Apprise understands" in items[2].detail
    assert "hunter2" not in str(items)
    assert server.taken == [], "looking sends nothing"


def test_a_test_page_reaches_every_target_and_says_which_failed(
    server: PagingServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(read_targets(server.url), resolve_after_s=0.0) == 0
    assert [one["type"] for one in server.taken] == ["failure", "success"]
    assert call(read_targets(f"U0ANNA={nobody_listens()} {server.url}"), resolve_after_s=0.0) == 1
    assert "FAIL  Page target 1 of 2 (json of U0ANNA) did not take the page." in capsys.readouterr().out
    assert len(server.taken) == 4
    with pytest.raises(TrainmasterError, match="PAGE_URLS is not set"):
        call((), resolve_after_s=0.0)


@pytest.mark.timeout(90)
async def test_a_phone_rings_when_a_trainer_dies_while_slack_is_away(server: PagingServer, tmp_path: Path) -> None:
    """The whole bot, which never reached Slack; and it says so again when the run is at work once more."""
    run = WrittenRun(tmp_path / "runs", "night")
    trainer = await asyncio.create_subprocess_exec("sleep", "300")
    run.record(pid=trainer.pid)
    run.beat(time.time() - START_TS, epoch=1, batch=10)
    away = nobody_listens().rpartition(":")[2].partition("/")[0]
    settings = load_settings(
        {
            "SLACK_BOT_TOKEN": "xoxb-1",
            "SLACK_APP_TOKEN": "xapp-1",
            "SLACK_API_URL": f"http://127.0.0.1:{away}/api/",
            "ALERT_CHANNEL": "#training",
            "RUNS_DIR": str(tmp_path / "runs"),
            "STATE_DIR": str(tmp_path / "state"),
            "CHECK_INTERVAL_S": "5",
            "PAGE_URLS": server.url,
            "PAGE_SLACK_AWAY_S": "10",
        }
    )
    app = App(settings)
    starting = asyncio.create_task(app.start())
    try:
        await asyncio.sleep(1.0)
        trainer.kill()
        await trainer.wait()
        async with asyncio.timeout(60.0):
            while not server.taken:  # noqa: ASYNC110 - the server is a thread
                await asyncio.sleep(0.1)
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await app.close()
    page = server.taken[0]
    assert page["title"].startswith("night")
    assert page["type"] == "failure"
    assert "Paged because Slack does not take it" in page["message"]
