"""The Web API of the workspace: one function a method, checked as Slack checks."""
