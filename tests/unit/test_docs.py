"""What the pages name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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


def test_the_map_names_every_room() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = [
        f"{side}/{folder.name}/"
        for side in ("bot", "trainer")
        for folder in sorted((ROOT / side).iterdir())
        if (folder / "__init__.py").exists()
    ]
    assert [room for room in rooms if f"`{room}`" not in text] == []


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
