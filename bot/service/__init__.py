"""The bot as a service of its host: its schedule, its folder, systemd, and who watches the watcher."""
