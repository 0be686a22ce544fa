"""A hook of mkdocs: the pages at the root of the repository are pages of the site as well, from the same files.

A link into ``docs/`` leads to the page there; one to a file of the code stays as the file's name, for the site holds
no code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
_LINK: Final = re.compile(r"(?<!!)\[(?P<words>[^\]]+)\]\((?P<target>[^)\s#]+)(?P<place>#[^)]*)?\)")
_PICTURE: Final = re.compile(r"(!\[[^\]]*\]\()docs/")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site's files, the root's pages among them; a decision is reached by the index of decisions."""
    from mkdocs.structure.files import File, InclusionLevel  # noqa: PLC0415 - the tests read this without mkdocs

    for file in files:
        if re.fullmatch(r"decisions/\d{4}-.*\.md", file.src_uri):
            file.inclusion = InclusionLevel.NOT_IN_NAV
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=as_seen_from_docs(text)))
    return files


def as_seen_from_docs(text: str) -> str:
    """``text`` of a page at the root with its links as they are from within ``docs/``."""
    return _LINK.sub(_moved, _PICTURE.sub(r"\1", text))


def _moved(link: re.Match[str]) -> str:
    words, target, place = link["words"], link["target"], link["place"] or ""
    if "://" in target:
        return link[0]
    if target in PAGES:
        return f"[{words}]({PAGES[target]}{place})"
    inside = target.removeprefix("docs/")
    if inside == target:
        return words
    return f"[{words}]({'decisions/README.md' if inside.rstrip('/') == 'decisions' else inside}{place})"
