"""What is decided and done: plans, questions to the people on call, operations, the audit log."""
