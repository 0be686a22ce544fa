"""The verbs of the bot on the command line: one file a verb, each importing only what it needs."""
