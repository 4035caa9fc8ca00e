"""What Alembic runs for every command: the caller's open connection, never a URL of its own."""

from alembic import context

from core.storage.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite can undo DDL as PostgreSQL can; Alembic assumes that it cannot.
    transactional_ddl=context.config.attributes["transactional_ddl"],
)
with context.begin_transaction():
    context.run_migrations()
