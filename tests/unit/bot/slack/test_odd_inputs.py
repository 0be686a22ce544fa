"""Every kind of message, made of runs as nobody hopes to have them: Slack takes it, and a person can read it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.facts import ids_shown, said_twice, texts_of
from tests.support.message_kinds import Kind, answers, every_kind
from tests.support.odd_runs import ODD_RUNS
from tests.support.run_dirs import WrittenRun
from trainmaster.bot.core.conversation.message import Item, Mark, Message
from trainmaster.bot.core.conversation.picture import Picture
from trainmaster.bot.core.conversation.tokens import person
from trainmaster.bot.slack.render import render
from trainmaster.bot.workspace.blocks.message import read_blocks, read_text
from trainmaster.visible import visible_line

Odd = Callable[[Path], WrittenRun]
SLUG = re.compile(
    r"\b(run|checkpoint|process|trainer|slack|state|log|settings|not|no|outbox|delivery)-"
    r"(unknown|contaminated|unguarded|failed|refused|database|content|scope|unreachable|readable|drawing|bug)\b"
)
INTERNAL = re.compile(r"\b[0-9a-f]{12,64}\b|\bpid \d|\bsha256\b|attempt\d+/|\bNone\b|\bnan\b")
"""Digests, ids of plans, process ids, fingerprints, and what a program says where it has no value."""
PICTURE = Picture(file="F0PICTURE", alt="Curves of night. " * 300)


@pytest.fixture(params=ODD_RUNS.values(), ids=ODD_RUNS)
async def kinds(request: pytest.FixtureRequest, tmp_path: Path) -> list[Kind]:
    """Every message that is made of such a run."""
    odd: Odd = request.param
    run = odd(tmp_path / "runs")
    return [*every_kind(tmp_path, run.layout.name, run=run), *await answers(tmp_path, run=run)]


async def test_all_of_it_holds_for_every_odd_run(kinds: list[Kind]) -> None:
    assert len(kinds) > 60
    faults = [f"{kind.name}: {fault}" for kind in kinds for fault in _faults(kind)]
    assert faults == []


def _faults(kind: Kind) -> list[str]:
    message = kind.message
    found = [f"twice: {one}" for one in said_twice(message)]
    # No picture, one, and more than a message shows: without matplotlib, and where an upload was refused, it is none.
    for pictures in ((), (PICTURE,), (PICTURE,) * 3):
        for one in (message, *([message.details] if message.details else [])):
            rendered = render(replace(one, pictures=pictures), {"U0ANNA": "Anna", "U0BEN": "Ben"})
            read_blocks(list(rendered.blocks))  # raises where Slack would refuse
            read_text(rendered.text, is_update=True)
    shown = render(message, {"U0ANNA": "Anna", "U0BEN": "Ben"})
    first = shown.text.split("\n")[0]
    if kind.run and not first.startswith(visible_line(kind.run)[:60]):
        found.append(f"does not begin with its run: {first[:80]}")
    # What is put into the thread when somebody asks for it may name digests and ids: there they belong.
    top = "" if kind.name.endswith("details") else "\n".join(texts_of(shown.blocks))
    found += [f"internal: {one.group()}" for one in INTERNAL.finditer(top.replace(kind.run, "RUN"))]
    found += [] if kind.name.endswith("details") else [f"internal: {one}" for one in ids_shown(shown.blocks)]
    found += [f"slug: {one.group()}" for one in SLUG.finditer(shown.text)]
    if re.search(r"<!(channel|here|everyone)|<@(?!U0ANNA|U0BEN)", json.dumps(shown.blocks)):
        found.append("it calls somebody")
    return found


def _item(text: str, detail: str) -> Item:
    return Item(mark=Mark.DONE, text=text, detail=detail)


@pytest.mark.parametrize(
    "message",
    [
        Message(title="night: a", body=("The loss is 5.", "The loss is 5.")),
        Message(title="night: a", fields=(("Validation", "mAP50 0.500"),), items=(_item("Validated", "mAP50 0.500"),)),
        Message(title="night: a", fields=(("Batch", "1,040 of 5,000"),), items=(_item("All", "1040 of 5000"),)),
        Message(title="night: epoch 4 of 40", fields=(("Epoch", "4 of 40"),)),
        Message(title="night: a", fields=(("Bad batches", "12 (11 skipped)"),), items=(_item("No NaN", "12 bad"),)),
        Message(title="night: a (skipped without a trace)", body=("1 batch: skipped without a trace.",)),
        Message(title="night: a", items=(_item("3", "all tensors finite"), _item("2", "all tensors finite"))),
        Message(title="night: a", body=(f"Asked for by {person('U0ANNA')}.",), mentions=("U0ANNA",)),
        Message(title="night: a digest", fields=(("Digest", "5a" * 16),)),
        Message(title="night: run-unknown: no such run"),
        Message(title="a, and then the run"),
        Message(title="night: pid 4711 died"),
        Message(title="night: a", items=(_item("Start", "attempt 4, process 25752"),)),
        Message(title="night: a", items=(_item("Archive", "in /data/runs/archive/night"),)),
        Message(title="night: a", items=(_item("Verify", "clean, sha256 812bcade044d"),)),
        Message(title="night: a", items=(_item("Hold", "plan 991fab8fc2e3 still holds"),)),
        Message(title="night: fitness None"),
    ],
    ids=[
        "a fact twice",
        "a value again as an item's detail",
        "a number in two formats",
        "a field that the title says",
        "a count in two forms",
        "a clause of the title",
        "a fact on every line",
        "a person twice",
        "a digest",
        "a slug",
        "no run first",
        "a pid",
        "a process id",
        "a path",
        "a digest of a file",
        "the id of a plan",
        "no value",
    ],
)
def test_what_it_looks_for_is_found(message: Message) -> None:
    assert _faults(Kind(name="a", message=message, run="night")) != []


def test_what_is_as_it_should_be_has_no_fault() -> None:
    message = Message(title="night: loss is not finite in epoch 4", body=("12 batches were skipped.",))
    assert _faults(Kind(name="a", message=message, run="night")) == []
