"""How the host and the bot itself are: disks, memory, GPUs, the bot's own jobs."""
