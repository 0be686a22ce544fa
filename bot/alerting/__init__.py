"""From findings to messages: track, inhibit, silence, dedup, route, compose, deliver; one stage a file."""
