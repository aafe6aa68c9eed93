"""Tenants, contents and files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "tenants",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("last_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_tenants"),
    )
    _contents()
    _files()


def _contents() -> None:
    op.create_table(
        "contents",
        sa.Column("key", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_contents"),
    )
    _index("uq_contents_live", "contents", ["tenant", "sha256"], "state = 'live'", unique=True)
    _index("ix_contents_bytes", "contents", ["tenant", "sha256"])
    _index("ix_contents_state", "contents", ["state", "since_us"])


def _files() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False),
        sa.Column("content_key", sa.String, nullable=False),
        sa.Column("filename", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("media_type", sa.String, nullable=False),
        sa.Column("kind", sa.String),
        sa.Column("user_metadata", sa.JSON, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("deleted_us", sa.BigInteger),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("stage", sa.String),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("segments", sa.Integer, nullable=False),
        sa.Column("error_code", sa.String),
        sa.Column("error_message", sa.String),
        sa.Column("duration_s", sa.Double),
        sa.Column("pages", sa.Integer),
        sa.Column("duplicates", sa.JSON, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("due_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
        sa.ForeignKeyConstraint(["content_key"], ["contents.key"], name="fk_files_content_key"),
    )
    _index("uq_files_created", "files", ["tenant", "created_us"], unique=True)
    _index("ix_files_content", "files", ["content_key"])
    _index("ix_files_due", "files", ["due_us", "created_us", "id"], "due_us IS NOT NULL")
    _index("ix_files_deleted", "files", ["deleted_us"], "deleted_us IS NOT NULL")


def _index(name: str, table: str, columns: list[str], where: str | None = None, unique: bool = False) -> None:
    """A partial index where there is a condition; both databases have those."""
    only = sa.text(where) if where else None
    op.create_index(name, table, columns, unique=unique, sqlite_where=only, postgresql_where=only)
