"""Socket Mode, the server's side: connections, envelopes, events."""
