"""The tables. Times are Unix microseconds, so that files have an order."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, TypeAlias

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, MetaData, String, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DuplicateJson: TypeAlias = tuple[str, float, bool, float | None]
"""File id, similarity, whether the bytes are the same, start in seconds."""


class ContentState(StrEnum):
    """Where an object of the content store is in its life. The row is there before it, and goes after it."""

    PENDING = "pending"
    """Being put in its place. After `orphan_s` that was interrupted, and it is doomed."""
    LIVE = "live"
    """Files refer to it."""
    DOOMED = "doomed"
    """No file refers to it, nor ever will. The row stays for `orphan_s`: a thumbnail may still be written."""


class Base(DeclarativeBase):
    """Of all tables."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


class Tenant(Base):
    """What a tenant has. Whoever changes its files or contents locks this row first, so that its counts are
    exact and no content goes while a file of the same bytes is added."""

    __tablename__ = "tenants"

    name: Mapped[str] = mapped_column(String, primary_key=True)
    files: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    """Of all its files; those of the same content count each."""
    last_us: Mapped[int] = mapped_column(BigInteger)
    """When the last file was added: the next one is later, whatever the clock says."""


class Content(Base):
    """An object of the content store, from before it is there until it is gone."""

    __tablename__ = "contents"

    key: Mapped[str] = mapped_column(String, primary_key=True)
    tenant: Mapped[str]
    sha256: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    """A ContentState."""
    since_us: Mapped[int] = mapped_column(BigInteger)
    """When it came into that state."""

    __table_args__ = (
        Index(
            "uq_contents_live",
            "tenant",
            "sha256",
            unique=True,
            sqlite_where=text("state = 'live'"),
            postgresql_where=text("state = 'live'"),
        ),
        Index("ix_contents_bytes", "tenant", "sha256"),
        Index("ix_contents_state", "state", "since_us"),
    )


class File(Base):
    """An uploaded file, and its place in the queue of the Ingestor."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(String, primary_key=True)
    tenant: Mapped[str]
    content_key: Mapped[str] = mapped_column(ForeignKey("contents.key"))
    filename: Mapped[str]
    purpose: Mapped[str]
    media_type: Mapped[str]
    kind: Mapped[str | None]
    user_metadata: Mapped[dict[str, str | int | float | bool]] = mapped_column(JSON)
    created_us: Mapped[int] = mapped_column(BigInteger)
    deleted_us: Mapped[int | None] = mapped_column(BigInteger)
    """Set: it does not exist any more, but its segments may."""
    status: Mapped[str]
    stage: Mapped[str | None]
    progress: Mapped[float] = mapped_column(Double)
    attempts: Mapped[int]
    segments: Mapped[int]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    duration_s: Mapped[float | None] = mapped_column(Double)
    pages: Mapped[int | None]
    duplicates: Mapped[list[DuplicateJson]] = mapped_column(JSON)
    owner: Mapped[str | None]
    """Who processes it."""
    due_us: Mapped[int | None] = mapped_column(BigInteger)
    """When it may be claimed: its turn while it waits, the end of the lease while it is processed, else
    never."""

    __table_args__ = (
        Index("uq_files_created", "tenant", "created_us", unique=True),
        Index("ix_files_content", "content_key"),
        Index(
            "ix_files_due",
            "due_us",
            "created_us",
            "id",
            sqlite_where=text("due_us IS NOT NULL"),
            postgresql_where=text("due_us IS NOT NULL"),
        ),
        Index(
            "ix_files_deleted",
            "deleted_us",
            sqlite_where=text("deleted_us IS NOT NULL"),
            postgresql_where=text("deleted_us IS NOT NULL"),
        ),
    )
