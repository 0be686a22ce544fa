"""``results.csv`` as one coherent story: each epoch once, none behind the checkpoint. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from trainmaster.trainer.checkpoints.files import write_atomically
from trainmaster.trainer.checkpoints.plain_file import opened_plain


def epoch_of_row(line: bytes) -> int | None:
    """The epoch (from 1) that a row is about; None for the header and for what is no whole row."""
    cell = line.split(b",", 1)[0].strip()
    try:
        return int(float(cell))
    except ValueError:
        return None


def cut_history(content: bytes, last_epoch: int) -> bytes:
    """``content`` without rows after ``last_epoch``; of an epoch told twice, the later telling; torn rows left out."""
    header, *rows = content.splitlines(keepends=True) or [b""]
    kept: dict[int, bytes] = {}
    for row in rows:
        epoch = epoch_of_row(row)
        whole = row.endswith((b"\n", b"\r")) and row.count(b",") == header.count(b",")
        if epoch is not None and whole and 1 <= epoch <= last_epoch:
            kept[epoch] = row
    return header + b"".join(kept[epoch] for epoch in sorted(kept))


def cut_results(path: Path, last_epoch: int) -> bool:
    """``path`` tells nothing after ``last_epoch``; whether that took a change. A missing file is no history to cut, and
    one whose very header is torn is gone: Ultralytics writes a header where there is no file.

    Raises:
        OSError: the file holds what it held.
    """
    try:
        with opened_plain(path) as stream:
            content = stream.read()
    except FileNotFoundError:
        return False
    if not content.endswith((b"\n", b"\r")) and len(content.splitlines()) <= 1:
        path.unlink()
        return True
    cut = cut_history(content, last_epoch)
    if cut == content:
        return False
    write_atomically(path, cut)
    return True
