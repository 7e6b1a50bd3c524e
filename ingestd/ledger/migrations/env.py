"""Runs the migrations inside the transaction upgrade.py began: all of them are committed, or none.

Both engines create tables transactionally, so a migration that dies leaves the ledger as it was.
"""

from alembic import context

from ingestd.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
