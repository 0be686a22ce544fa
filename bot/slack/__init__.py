"""Slack: messages rendered to Block Kit, commands and buttons taken in, the socket kept open."""
