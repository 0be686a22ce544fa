"""What the pages name is there."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml

from docs.pages_of_the_root import PAGES as PAGES_OF_THE_ROOT
from docs.pages_of_the_root import as_seen_from_docs
from tests.support.imports import modules_of

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = ("bot", "commands", "docs", "tests", "trainer", "trainmaster", ".ci")
NAMED = re.compile(rf"`((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    named = NAMED.findall(page.read_text(encoding="utf-8"))
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def anchors(text: str) -> set[str]:
    """By which a link reaches the headings of a page."""
    heads = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w -]", "", head.strip().lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_to_a_heading_finds_it(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    assert [
        link
        for link in links
        if link[1] not in anchors((page.parent / link[0] if link[0] else page).read_text("utf-8"))
    ] == []


OUR_NAME = re.compile(r"(?<![\w./-])trainmaster((?:\.[A-Za-z_]\w*)+)")
OF_FILES = {"service", "sqlite3", "toml"}
"""``trainmaster.service`` is a file."""
TEXTS = [
    *PAGES,
    *(path for top in ("bot", "commands", "trainer", "trainmaster") for path in (ROOT / top).rglob("*.py")),
]


def unknown_names(text: str, modules: Mapping[str, Path]) -> list[str]:
    """Names below ``trainmaster`` that ``text`` says, and that neither are a module nor stand in one."""
    unknown = []
    for found in OUR_NAME.finditer(text):
        module, parts = "trainmaster", found[1][1:].split(".")
        while parts and f"{module}.{parts[0]}" in modules:
            module += f".{parts.pop(0)}"
        made = rf'(?m)(?:\b(?:def|class|import) |^|"){parts[0]}\b' if parts else ""
        if parts and parts[0] not in OF_FILES and not re.search(made, modules[module].read_text("utf-8")):
            unknown.append(found[0])
    return unknown


def test_every_name_of_ours_in_a_text_is_there() -> None:
    """In pages, docstrings and messages: a person types it."""
    modules = modules_of("bot", "commands", "trainer", "trainmaster")
    wrong = {str(path.relative_to(ROOT)): unknown_names(path.read_text("utf-8"), modules) for path in TEXTS}
    assert {place: names for place, names in wrong.items() if names} == {}


def test_a_name_that_is_not_there_is_noticed() -> None:
    modules = modules_of("trainer", "trainmaster")
    assert unknown_names("trainmaster.guarded(cls), trainmaster.trainer.guard.guarded", modules) == []
    assert unknown_names("see trainmaster.trainer.guarded(cls).", modules) == ["trainmaster.trainer.guarded"]


REFERENCE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([\w.]+)`")


@cache
def words_of(path: Path) -> frozenset[str]:
    """Every word of a file that does not stand in a reference."""
    return frozenset(re.findall(r"\w+", REFERENCE.sub("", path.read_text("utf-8"))))


def lost_references(path: Path, modules: Mapping[str, Path], classes: Mapping[str, Path]) -> list[str]:
    """What the docstrings of a file refer to, and what is not there: a bare name stands in the file itself,
    ``Class.name`` where the class does, ``module.name`` in that module, below the folders that are named too."""
    lost = []
    for said in REFERENCE.findall(path.read_text("utf-8")):
        *before, last = said.split(".")
        if not before:
            places = [path]
        elif before[-1] in classes:
            places = [classes[before[-1]]]
        else:
            places = [one for name, one in modules.items() if f".{name}".endswith("." + ".".join(before))]
        if any(last in words_of(place) for place in places):
            continue
        is_module = any(f".{name}".endswith(f".{said}") for name in modules)
        if not is_module and (not before or before[0] not in sys.stdlib_module_names):
            lost.append(said)
    return lost


def test_what_a_docstring_refers_to_is_there() -> None:
    modules = modules_of("bot", "commands", "trainer", "trainmaster")
    defined = re.compile(r"(?m)^class (\w+)")
    classes = {one: path for path in modules.values() for one in defined.findall(path.read_text("utf-8"))}
    lost = {name: lost_references(path, modules, classes) for name, path in modules.items()}
    assert {name: names for name, names in lost.items() if names} == {}


def test_a_reference_to_what_is_not_there_is_noticed(tmp_path: Path) -> None:
    near, far = tmp_path / "near.py", tmp_path / "far.py"
    near.write_text(
        '"""As :func:`here`, :meth:`Far.away`, :mod:`a.far`, :class:`far.Far`; :meth:`Far.lost`, :func:`gone`."""\n'
        "here = 1\n"
    )
    far.write_text("class Far:\n    away = 1\n")
    assert lost_references(near, {"a.near": near, "a.far": far}, {"Far": far}) == ["Far.lost", "gone"]


STANDS_IN = re.compile(
    r"`([A-Za-z_][\w.]*)`\s+(?:in |of )?\(?`((?:bot|commands|trainer|trainmaster|tests)/[\w/.-]+\.py)`"
)


def lacking(text: str) -> list[str]:
    """What ``text`` says to stand in a file that does not have it: "`Inbox` (`bot/slack/inbox.py`)"."""
    return [
        f"{what} in {file}"
        for what, file in STANDS_IN.findall(text)
        if (ROOT / file).exists()
        and not all(re.search(rf"\b{word}\b", (ROOT / file).read_text("utf-8")) for word in what.split("."))
    ]


def test_what_a_page_says_to_stand_in_a_file_stands_there() -> None:
    wrong = {name(page): lacking(page.read_text(encoding="utf-8")) for page in PAGES}
    assert {page: what for page, what in wrong.items() if what} == {}


def test_what_does_not_stand_in_its_file_is_noticed() -> None:
    assert lacking("`Inbox.slash` (`bot/slack/inbox.py`), `press`\n(`bot/slack/incoming.py`)") == []
    assert lacking("`InboxTray` of `bot/slack/inbox.py`") == ["InboxTray in bot/slack/inbox.py"]


IN_CAPITALS = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
OF_OTHERS = {"INTEGRATION_KEY", "API_KEY", "SBATCH_ACCOUNT", "SBATCH_PARTITION"}
"""Slurm's own, and what a person puts something for."""


def test_every_setting_that_a_page_names_is_one() -> None:
    """Or another name in capitals, which somebody will look for."""
    lost = {one for page in PAGES for one in IN_CAPITALS.findall(page.read_text(encoding="utf-8"))} - OF_OTHERS
    sources = (
        path for top in ("bot", "trainer", "commands", "trainmaster", "tests") for path in (ROOT / top).rglob("*.py")
    )
    for path in (ROOT / ".env.example", ROOT / "Makefile", ROOT / "container" / "compose.yaml", *sources):
        text = path.read_text(encoding="utf-8")
        lost -= {one for one in lost if one in text}
        if not lost:
            break
    assert lost == set()


def test_the_map_names_every_room() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = [
        f"{side}/{folder.name}/"
        for side in ("bot", "trainer")
        for folder in sorted((ROOT / side).iterdir())
        if (folder / "__init__.py").exists()
    ]
    assert [room for room in rooms if f"`{room}`" not in text] == [], "docs/ARCHITECTURE.md has a table of rooms"


def test_the_index_of_decisions_has_every_page() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(page.name for page in folder.glob("[0-9]*.md"))
    numbers = [int(page[:4]) for page in listed]
    assert numbers == list(range(1, len(listed) + 1))
    titles = [(folder / page).read_text(encoding="utf-8").partition("\n")[0] for page in listed]
    assert [title.split()[:2] for title in titles] == [["#", f"{number}."] for number in numbers]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("see `bot/app.py` and `trainer/`", ["bot/app.py", "trainer/"]),
        ("`python -m bot`, `make test`, `json.py`", []),
    ],
)
def test_what_counts_as_a_path(text: str, paths: list[str]) -> None:
    assert NAMED.findall(text) == paths


def test_the_site_shows_every_guide() -> None:
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2])
    guides = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("*.md")}
    assert set(listed) == guides | set(PAGES_OF_THE_ROOT.values()) | {"decisions/README.md"}
    assert len(listed) == len(set(listed))


def test_the_site_fetches_nothing_from_elsewhere() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["theme"]["font"] is False
    assert config["strict"] is True


@pytest.mark.parametrize(
    ("at_the_root", "in_the_site"),
    [
        ("[a](docs/alerts.md)", "[a](alerts.md)"),
        ("[a](docs/alerts.md#loss)", "[a](alerts.md#loss)"),
        ("[c](CONTRIBUTING.md)", "[c](contributing.md)"),
        ("[`d/`](docs/decisions/)", "[`d/`](decisions/README.md)"),
        ("[`bot/app.py`](bot/app.py)", "`bot/app.py`"),
        ("![p](docs/channel.png)", "![p](channel.png)"),
        ("[u](https://docs.ultralytics.com)", "[u](https://docs.ultralytics.com)"),
    ],
)
def test_a_link_of_the_root_leads_to_the_same_place_in_the_site(at_the_root: str, in_the_site: str) -> None:
    assert as_seen_from_docs(at_the_root) == in_the_site
