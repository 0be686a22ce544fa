"""``trainmaster``. A post-mortem of a long log must not wait for the imports that the other verbs need."""

from __future__ import annotations

import sys


def main(argv: list[str]) -> int:
    """The exit code of the verb in ``argv``."""
    if argv[:1] == ["scan"]:
        from trainmaster.bot.cli import scan as scan_cli  # noqa: PLC0415

        return scan_cli.main(argv[1:])
    from trainmaster.bot.cli import main as cli  # noqa: PLC0415

    return cli.main(argv)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
