"""Alembic's entry: the URL comes from the node, never from a file here."""

from __future__ import annotations

from alembic import context

from node.store.session import Database
from node.store.tables import Base

database = Database(context.config.attributes["url"])
# A SQLite schema change takes the write lock first, so that two nodes starting at once do not both migrate.
engine = database.engine.execution_options(harmonode_write=True)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
database.close()
