"""Words and rules of receipt ingestion.

Floor 0: pure values and functions. No I/O, no asyncio, no logging; time comes in as `now`.
"""
