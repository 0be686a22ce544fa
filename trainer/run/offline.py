"""Imported before ultralytics: keeps it from calling home and from installing packages on its own.

The user's settings file is read, never written: what changes here changes in this process only.
"""

from __future__ import annotations

import os


def before_import() -> None:
    """Environment that ultralytics reads once, while it is imported. A value the user set stands."""
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_OFFLINE", "true")  # no name look-ups, no update check; asked-for downloads still work


def after_import() -> None:
    """Usage events are off in this process, whatever the settings file says."""
    from ultralytics.utils import SETTINGS  # noqa: PLC0415 - only after the environment is set
    from ultralytics.utils.events import events  # noqa: PLC0415 - as above

    dict.__setitem__(SETTINGS, "sync", False)  # SETTINGS["sync"] = False would write the user's file
    events.enabled = False
