"""``trainmaster manifest``: the Slack app, to be pasted where Slack asks for its manifest."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.bot.cli.arguments import VerbParser
from trainmaster.bot.slack.manifest import manifest_json


def main(argv: Sequence[str]) -> int:
    """Print the manifest as JSON; 0."""
    parser = VerbParser(prog="trainmaster manifest", description="Print the Slack app manifest.")
    parser.parse_args(argv)
    print(manifest_json())
    return 0
