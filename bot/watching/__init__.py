"""Looking at runs: the tick, the pool that reads, the watcher of files, the host, the bot's own jobs."""
