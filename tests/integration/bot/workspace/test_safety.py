"""No other web page, and nobody without the link, may look at the workspace or press its buttons."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from trainmaster.bot.errors import SettingsError
from trainmaster.bot.workspace.page.client import PageClient
from trainmaster.bot.workspace.page.gate import PAGE_TOKEN_HEADER, refuse_real_tokens
from trainmaster.bot.workspace.server import Workspace

SAY = {"person": "anna", "channel": "training", "text": "hello"}


def base(workspace: Workspace) -> str:
    return workspace.page_url.split("/?")[0]


def token(workspace: Workspace) -> str:
    return parse_qs(urlsplit(workspace.page_url).query)["token"][0]


async def status_of(workspace: Workspace, path: str, *, method: str = "POST", **request: Any) -> int:
    url = base(workspace) + path
    async with aiohttp.ClientSession() as session, session.request(method, url, **request) as response:
        return response.status


FOREIGN = {
    "another web page": {"Origin": "https://evil.example"},
    "another port of this machine": {"Origin": "http://127.0.0.1:1"},
    "a page from a file": {"Origin": "null"},
    "https on our port": {"Origin": "https://127.0.0.1:{port}"},
    "a name that points here": {"Host": "evil.example:{port}"},
    "our address on another port": {"Host": "127.0.0.1:1"},
    "a frame or a form of another site": {"Sec-Fetch-Site": "cross-site"},
    "another port of this site": {"Sec-Fetch-Site": "same-site"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("path", ["/page/say", "/api/chat.postMessage", "/respond/x"])
async def test_request_from_elsewhere_is_refused_even_with_the_secrets(
    workspace: Workspace, page: PageClient, headers: dict[str, str], path: str
) -> None:
    port = str(urlsplit(workspace.page_url).port)
    sent = {name: value.replace("{port}", port) for name, value in headers.items()}
    sent |= {PAGE_TOKEN_HEADER: token(workspace), "Authorization": f"Bearer {workspace.bot_token}"}
    assert await status_of(workspace, path, json=SAY, headers=sent) == 403
    assert (await page.look()).messages == ()


@pytest.mark.parametrize("own_name", ["127.0.0.1", "localhost"])
async def test_own_page_is_served(workspace: Workspace, page: PageClient, own_name: str) -> None:
    port = urlsplit(workspace.page_url).port
    own = {"Host": f"{own_name}:{port}", "Origin": f"http://{own_name}:{port}", "Sec-Fetch-Site": "same-origin"}
    sent = own | {PAGE_TOKEN_HEADER: token(workspace)}
    assert await status_of(workspace, "/page/say", json=SAY, headers=sent) == 200
    assert len(await page.messages("training")) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/?token=guess"), ("GET", "/page/state"), ("GET", "/page/stream"), ("POST", "/page/say")],
)
async def test_without_the_secret_nothing_is_shown_or_done(workspace: Workspace, method: str, path: str) -> None:
    assert await status_of(workspace, path, method=method, json=SAY) == 403
    guess = {PAGE_TOKEN_HEADER: "guess"}
    assert await status_of(workspace, path, method=method, json=SAY, headers=guess) == 403


async def test_form_cannot_press_a_button(workspace: Workspace) -> None:
    headers = {PAGE_TOKEN_HEADER: token(workspace), "Content-Type": "text/plain"}
    assert await status_of(workspace, "/page/say", data=b"{}", headers=headers) == 415


async def test_page_may_load_and_send_nothing_elsewhere(workspace: Workspace) -> None:
    async with aiohttp.ClientSession() as session, session.get(workspace.page_url) as response:
        policy = response.headers["Content-Security-Policy"]
        assert response.status == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("name", ["../server.py", "%2e%2e%2fserver.py", "nothing.js"])
async def test_only_the_files_of_the_page_are_served(workspace: Workspace, name: str) -> None:
    assert await status_of(workspace, f"/static/{name}", method="GET") == 404


async def test_it_listens_on_this_machine_only(workspace: Workspace) -> None:
    assert workspace._runner is not None
    assert [address[0] for address in workspace._runner.addresses] == ["127.0.0.1"]


async def test_connection_needs_an_unused_ticket(workspace: Workspace) -> None:
    assert await status_of(workspace, "/link/?ticket=guess", method="GET") == 403


REAL = {
    "bot token": {"SLACK_BOT_TOKEN": "xoxb-1-real"},
    "app token": {"SLACK_APP_TOKEN": "xapp-1-real"},
    "both": {"SLACK_BOT_TOKEN": "xoxb-1-real", "SLACK_APP_TOKEN": "xapp-1-real"},
}


@pytest.mark.parametrize("environ", REAL.values(), ids=REAL.keys())
def test_it_refuses_to_stand_beside_real_tokens(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="real-tokens-present") as refused:
        refuse_real_tokens(environ)
    assert all(name in str(refused.value) for name in environ)
    assert "real" not in str(refused.value).replace("real-tokens-present", "")


@pytest.mark.parametrize("environ", [{}, {"SLACK_BOT_TOKEN": ""}, {"SLACK_BOT_TOKEN": "xoxb-own"}])
def test_it_starts_with_none_or_its_own(environ: dict[str, str]) -> None:
    refuse_real_tokens(environ, own_tokens=frozenset({"xoxb-own"}))
