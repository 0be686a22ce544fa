"""A console log of any Ultralytics version, as bytes come in: text, frames, messages, tracebacks, facts."""
