"""Settings of the bot: collected from the parts that declare them, read from the environment, refused in words."""
