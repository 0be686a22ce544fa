"""Settings of the bot: the model, the rules that they must keep, and the limits that are made of them."""
