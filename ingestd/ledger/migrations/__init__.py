"""Alembic migrations of the ledger. `env` runs them on the connection that upgrade.py opened.

A migration is never edited after its release; file names begin with the revision, in order: 0001, 0002 …
"""
