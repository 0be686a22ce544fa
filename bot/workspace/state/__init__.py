"""What the workspace remembers, in memory: people, channels, messages, passes."""
