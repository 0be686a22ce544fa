"""The local workspace: a Slack stand-in on the loopback interface, with a web page, for the demo and the tests."""
