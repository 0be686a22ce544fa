"""The supervisor process: watches guarded trainings and answers in Slack. Never loads torch."""
