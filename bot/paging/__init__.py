"""A phone that rings: critical alerts that nobody acknowledged, or that Slack does not take, go out by other ways."""
