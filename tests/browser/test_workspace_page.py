"""The page in a real browser, with a real Bolt app behind it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect
from slack_sdk.web.async_client import AsyncWebClient

from tests.integration.bot.workspace.cast import Stage, card, stage
from trainmaster.bot.workspace.state.people import BOT_USER_ID

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def type_and_send(page: Page, words: str) -> None:
    box = page.get_by_label("Message", exact=True)
    await box.fill(words)
    await box.press("Enter")


async def act_as(page: Page, name: str) -> None:
    await page.locator(".person", has_text=name).click()


def row(page: Page, words: str) -> Any:
    return page.locator("#messages article", has_text=words)


def slack(on: Stage) -> AsyncWebClient:
    return AsyncWebClient(token=on.workspace.bot_token, base_url=on.workspace.api_url)


async def test_command_is_typed_and_approved_by_another_person(tab: Page) -> None:
    async with stage() as on:
        await tab.goto(on.workspace.page_url)
        await act_as(tab, "Ben")
        await type_and_send(tab, "/train execute rollback")
        asked = row(tab, "Roll back to epoch 3?")
        await expect(asked).to_contain_text("APP")
        await act_as(tab, "Anna")
        await asked.get_by_role("button", name="Approve").click()
        await expect(row(tab, "rollback-7 approved by @Anna Keller")).to_contain_text("(edited)")
        await expect(tab.get_by_role("button", name="Approve")).to_have_count(0)


async def test_answer_for_one_person_is_not_shown_to_another(tab: Page) -> None:
    async with stage() as on:
        await tab.goto(on.workspace.page_url)
        await type_and_send(tab, "/train status")
        await expect(row(tab, "you asked for status")).to_contain_text("Only visible to you")
        await act_as(tab, "Ben")
        await expect(row(tab, "you asked for status")).to_have_count(0)


async def test_mention_is_answered_in_a_thread_that_can_be_read_and_continued(tab: Page) -> None:
    async with stage() as on:
        await tab.goto(on.workspace.page_url)
        await type_and_send(tab, "@trainmaster how far?")
        await row(tab, "how far?").get_by_role("button", name="1 reply").click()
        thread = tab.get_by_role("complementary", name="Thread")
        await expect(thread).to_contain_text("epoch 3 of 10")
        await thread.get_by_label("Reply", exact=True).fill("thanks *a lot*")
        await thread.get_by_label("Reply", exact=True).press("Enter")
        await expect(thread.locator("strong", has_text="a lot")).to_be_visible()
        await expect(row(tab, "how far?")).to_contain_text("2 replies")


async def test_command_in_a_thread_is_explained(tab: Page) -> None:
    async with stage() as on:
        said = await on.page.say("anna", "training", "root")
        await on.page.say("ben", "training", "reply", thread_ts=said.ts)
        await tab.goto(on.workspace.page_url)
        await tab.get_by_role("button", name="1 reply").click()
        reply = tab.get_by_label("Reply", exact=True)
        await reply.fill("/train status")
        await reply.press("Enter")
        await expect(tab.locator("#thread")).to_contain_text("is not supported in threads")


async def test_modal_shows_its_faults_and_is_submitted(tab: Page) -> None:
    async with stage() as on:
        await slack(on).chat_postMessage(channel="C0TRAIN", text="ask", blocks=card("ask"))
        await tab.goto(on.workspace.page_url)
        await tab.get_by_role("button", name="Reject…").click()
        modal = tab.locator("#modal")
        await modal.get_by_role("button", name="Reject").click()
        await expect(modal).to_contain_text("Please complete this required field.")
        await modal.get_by_label("Why?").fill("no")
        await modal.get_by_role("button", name="Reject").click()
        await expect(modal).to_contain_text("A few words, please.")
        await modal.get_by_label("Why?").fill("the loss is falling")
        await modal.get_by_role("button", name="Reject").click()
        await expect(modal).to_be_hidden()
        assert on.app.submissions == [{"user": "U0ANNA", "why": "the loss is falling"}]


async def test_confirmation_stands_between_a_press_and_its_effect(tab: Page) -> None:
    async with stage() as on:
        blocks = card("ask")
        words = {"title": "Sure?", "text": "It stops.", "confirm": "Do it", "deny": "Leave it"}
        blocks[1]["elements"][0]["confirm"] = {
            name: {"type": "plain_text", "text": text} for name, text in words.items()
        }
        await slack(on).chat_postMessage(channel="C0TRAIN", text="ask", blocks=blocks)
        await tab.goto(on.workspace.page_url)
        await tab.get_by_role("button", name="Approve").click()
        await tab.get_by_role("button", name="Leave it").click()
        await expect(tab.locator("#confirm")).to_be_hidden()
        await expect(row(tab, "approved")).to_have_count(0)
        await tab.get_by_role("button", name="Approve").click()
        await tab.get_by_role("button", name="Do it").click()
        await expect(row(tab, "approved by")).to_be_visible()


NASTY = "<img src=x onerror=alert(1)><script>alert(2)</script>"


async def test_markup_in_a_message_stays_text(tab: Page) -> None:
    async with stage() as on:
        await on.page.say("anna", "training", NASTY)
        blocks = [
            {"type": "section", "text": {"type": "mrkdwn", "text": NASTY}},
            {"type": "header", "text": {"type": "plain_text", "text": NASTY}},
            {"type": "section", "text": {"type": "mrkdwn", "text": "<javascript:alert(3)|press me>"}},
        ]
        await slack(on).chat_postMessage(channel="C0TRAIN", text=NASTY, blocks=blocks)
        await tab.goto(on.workspace.page_url)
        await expect(row(tab, "press me")).to_be_visible()
        assert await tab.locator("#messages script").count() == 0
        assert await tab.locator("#messages img:not(.avatar)").count() == 0
        assert await tab.locator("#messages a").count() == 0
        await expect(tab.locator("#messages")).to_contain_text("<img src=x onerror=alert(1)>")


async def test_mrkdwn_is_drawn_as_slack_draws_it(tab: Page) -> None:
    text = (
        "*bold* _italic_ ~gone~ `code *not bold*` <https://e.org/a|a link> <@U0ANNA> <#C0TRAIN> :warning: "
        "max_norm 2*3*4\n&gt;quoted &amp; *bold too*\n```def f(x):\n  return x &lt; 3```"
        f"<!date^1700000000^{{date_num}}|then> <@{BOT_USER_ID}>"
    )
    async with stage() as on:
        await slack(on).chat_postMessage(channel="C0TRAIN", text=text)
        await tab.goto(on.workspace.page_url)
        drawn = row(tab, "bold").locator(".text")
        await expect(drawn.locator("strong")).to_have_text(["bold", "bold too"])
        await expect(drawn.locator("em")).to_have_text("italic")
        await expect(drawn.locator("s")).to_have_text("gone")
        await expect(drawn.locator("code")).to_have_text("code *not bold*")
        await expect(drawn.locator("a")).to_have_attribute("href", "https://e.org/a")
        await expect(drawn.locator(".mention")).to_have_text(["@Anna Keller", "#training", "@trainmaster"])
        await expect(drawn.locator("svg[aria-label='warning']")).to_be_visible()
        await expect(drawn.locator("blockquote")).to_have_text("quoted & bold too")
        await expect(drawn.locator("pre")).to_have_text("def f(x):\n  return x < 3")
        await expect(drawn.locator("time")).to_have_text("2023-11-14")
        await expect(drawn).to_contain_text("max_norm 2*3*4")


async def test_app_that_is_gone_is_shown_and_its_button_says_so(tab: Page) -> None:
    async with stage() as on:
        await slack(on).chat_postMessage(channel="C0TRAIN", text="ask", blocks=card("ask"))
        await tab.goto(on.workspace.page_url)
        await expect(tab.locator("#presence")).to_have_text("app connected")
        await on.handler.close_async()
        await expect(tab.locator("#presence")).to_have_text("app not connected")
        await tab.get_by_role("button", name="Approve").click()
        await expect(tab.get_by_role("alert").filter(has_text="dispatch_failed")).to_be_visible()


async def test_page_catches_up_after_the_workspace_was_away(browser: Browser) -> None:
    async with stage() as on:
        page = await browser.new_page()
        await page.goto(on.workspace.page_url)
        await on.page.say("anna", "training", "before")
        await expect(row(page, "before")).to_be_visible()
        await on.workspace.restart()
        await on.page.close()
        await on.page.say("anna", "training", "afterwards")
        await expect(row(page, "afterwards")).to_be_visible(timeout=10_000)
        await page.close()


async def test_words_that_nobody_hears_are_not_lost(tab: Page) -> None:
    async with stage() as on:
        await tab.goto(on.workspace.page_url)
        await expect(tab.locator("#channel-name")).to_have_text("# training")
    await expect(tab.locator("#channel-topic")).to_contain_text("Connection lost")  # on a phone too: no sidebar is seen
    for words in ("/train status", "is anybody there?"):
        await type_and_send(tab, words)
        await expect(tab.get_by_role("alert")).to_contain_text("The workspace does not answer")
        await expect(tab.get_by_label("Message", exact=True)).to_have_value(words)


async def test_everything_can_be_done_with_the_keyboard(tab: Page) -> None:
    async with stage() as on:
        await tab.goto(on.workspace.page_url)
        await expect(tab.locator(".person")).to_have_count(2)
        await tab.locator(".person input").first.focus()
        await tab.keyboard.press("ArrowRight")
        await expect(tab.locator(".person input").nth(1)).to_be_focused()
        await tab.keyboard.press("Tab")
        await tab.keyboard.type("/tr")
        await tab.keyboard.press("Enter")
        await tab.keyboard.type("execute rollback")
        await tab.keyboard.press("Enter")
        approve = tab.get_by_role("button", name="Approve")
        await approve.focus()
        await tab.keyboard.press("Enter")
        await expect(row(tab, "approved by @Ben Okafor")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)], ids=["wide", "phone"])
async def test_nothing_is_wider_than_the_window(browser: Browser, scheme: Any, width: int, height: int) -> None:
    async with stage() as on:
        cells = [[{"type": "raw_text", "text": "a wide cell of a wide table"}] * 8] * 2
        await slack(on).chat_postMessage(channel="C0TRAIN", text="x", blocks=[{"type": "table", "rows": cells}])
        await slack(on).chat_postMessage(channel="C0TRAIN", text="word" * 200)
        page = await browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        await page.goto(on.workspace.page_url)
        await expect(row(page, "wordword")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        assert await page.evaluate("getComputedStyle(document.body).colorScheme") == "light dark"
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") is (scheme == "light")
        await page.close()
