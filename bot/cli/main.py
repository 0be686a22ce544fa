"""The edge of every verb of the bot: its errors become words and an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from trainmaster.bot.errors import TrainmasterError
from trainmaster.loading import loading
from trainmaster.terminal import complain, complain_of, forgiving
from trainmaster.visible import visible_line

_LOG_NOTHING = frozenset({"scan"})


def carry_out(verb: str, argv: Sequence[str]) -> int:
    """The exit code of ``verb``, which stands in the file of its name in this folder, a hyphen being an underscore: 0
    done, 1 failed, 2 not understood, 130 ended by Ctrl-C. ``argv`` are the words behind it. Nothing loads but what this
    verb needs."""
    forgiving()
    if verb not in _LOG_NOTHING:
        from trainmaster.bot.cli.log_lines import show_foreign_text  # noqa: PLC0415 - a scan starts in milliseconds

        show_foreign_text()
    try:
        with loading():
            module = importlib.import_module(f"trainmaster.bot.cli.{verb.replace('-', '_')}")
        code = int(module.main(argv))
        sys.stdout.flush()
    except TrainmasterError as error:
        complain(str(error))
        return 2 if error.slug == "settings" else 1
    except (FileExistsError, NotADirectoryError) as error:
        complain(f"system: {_shown(error)} is no directory.\nHint: name another, or move it away")
        return 1
    except OSError as error:
        complain_of(error)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _shown(error: OSError) -> str:
    return visible_line(str(error.filename))
