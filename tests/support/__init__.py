"""What tests share: run directories, outboxes, clocks, locks."""
