"""Run by Alembic: the revisions on the connection of `multimodal.metadata.upgrade`, in its transaction."""

from __future__ import annotations

from alembic import context

from multimodal.metadata.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
