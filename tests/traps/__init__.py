"""Documents that only tests need: every format people send, every way to get it wrong, and bombs.

All bytes are made here, and the same call gives the same bytes (encryption excepted: it draws its own salts).
What a newcomer may play with, and what the daemon warms up with, is in `ingestd.samples`.
"""
