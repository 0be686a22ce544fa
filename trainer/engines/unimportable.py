"""An Ultralytics that is there and can't be imported, in words. Loads nothing of it."""

from __future__ import annotations

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.engines import installed


def not_importable(error: BaseException) -> ArgumentsError:
    """One so old that it lacks whole modules, one half installed, one that was edited, or none."""
    found = installed.look()
    what = f"Ultralytics {found.version or 'of unknown version'} in {found.folder}" if found.folder else "Ultralytics"
    hint = "trainmaster's own requirements bring one that fits: pip install --upgrade trainmaster"
    if found.changed:
        hint = f"{found.put_back} puts its files back"
    return ArgumentsError(f"{what} can't be imported, so nothing can be guarded: {error}", hint)
