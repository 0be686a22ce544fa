"""Which Ultralytics is installed, which generation it is, and whether it is one, whole, and as published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trainmaster.trainer.checkpoints.naming import some
from trainmaster.trainer.engines import compat, installed
from trainmaster.trainer.selfcheck.report import Row, Status

MAX_NAMES: Final = 5


def rows(part: str, folder: Path, device: str | None) -> Iterator[Row]:
    """Rows of facts; only a seam that is not there fails, since the guard then refuses to train."""
    del folder, device
    found, compatibility = installed.look(), compat.check()
    yield from _seams(part, compatibility)
    yield _once(part, found)
    yield _as_published(part, found)


def _seams(part: str, found: compat.Compatibility) -> Iterator[Row]:
    tested = ", ".join(compat.TESTED_VERSIONS)
    fits = f"generation {found.engine.name}" if not found.missing else f"no generation; nearest is {found.engine.name}"
    yield Row(
        part=part,
        name="version",
        status=Status.OK if found.tested else Status.TOLD,
        value=found.version,
        detail=fits if found.tested else f"{fits}; never tested with this guard (tested: {tested})",
    )
    lacks = f"training is refused: it lacks {'; '.join(found.missing)}. {compat.remedy()}"
    yield Row(
        part=part,
        name="seams of this Ultralytics",
        status=Status.FAILED if found.missing else Status.OK,
        value=f"{len(found.missing)} missing" if found.missing else "all there",
        limit="0 missing",
        detail=lacks if found.missing else "",
    )


def _once(part: str, found: installed.Installed) -> Row:
    name, detail = "installed once", str(found.folder or "")
    if not found.others:
        return Row(part=part, name=name, status=Status.OK, value="yes", detail=detail)
    value = f"no: {len(found.others)} more on Python's path"
    detail = f"{found.folder} is used; it hides {some(found.others, MAX_NAMES)}"
    return Row(part=part, name=name, status=Status.TOLD, value=value, detail=detail)


def _as_published(part: str, found: installed.Installed) -> Row:
    name = "files as published"
    if not found.num_files:
        why = "pip has no record of its files: an editable installation, or a bare folder"
        return Row(part=part, name=name, status=Status.SKIPPED, value="unknown", detail=why)
    if not found.changed:
        return Row(part=part, name=name, status=Status.OK, value=f"all {found.num_files}")
    value = f"{len(found.edited)} of {found.num_files} edited, {len(found.gone)} gone"
    detail = f"{some(found.changed, MAX_NAMES)}. {found.put_back} puts them back."
    return Row(part=part, name=name, status=Status.TOLD, value=value, detail=detail)
