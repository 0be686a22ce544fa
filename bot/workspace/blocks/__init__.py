"""Block Kit as Slack checks it: blocks, elements, whole messages, and the numbers that Slack enforces."""
