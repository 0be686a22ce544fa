"""Settings -> the parts of the bot, each made once and given what it needs: one file a group of them."""
