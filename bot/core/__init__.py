"""The supervisor's knowledge, pure: no I/O, no clock reads, no asyncio."""
