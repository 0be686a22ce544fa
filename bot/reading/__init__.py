"""Bytes into facts: run directories, console logs, results.csv."""
