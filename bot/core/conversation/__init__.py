"""What people say to the bot and what it says: requests, messages, words. Knows nothing of Slack."""
