"""Contents in the database: what keeps an object from being lost, and from being left behind.

An object has a row from before it is put in its place until after it was deleted:

    reserve        PENDING   committed before the object is there
    settle         LIVE      in the transaction that adds the first file of the content
    doom           DOOMED    in the transaction that drops the last one, or when settling did not come in time
    (swept)        no row    after the object was deleted, `orphan_s` later

Every step is one transaction, so wherever a process dies, the rows tell what is to be deleted. A slow upload
cannot lose its object to the sweep: it may settle only what is PENDING still, and only what is not any more
is deleted. Objects are deleted by the names that the database has, and not because they are found without a
row: a store that meets an empty database, or an old copy of its own, loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from multimodal.config import LibraryArgs
from multimodal.errors import QuotaExceeded
from multimodal.metadata.tables import Content, ContentState, File, Tenant
from multimodal.types import StoredContent

_INSERT_TENANT = text(
    "INSERT INTO tenants (name, files, bytes, last_us) VALUES (:name, 0, 0, 0) ON CONFLICT DO NOTHING"
)


def locked_tenant(session: Session, name: str) -> Tenant | None:
    """A tenant that has files, or had some. No other transaction changes its files or contents until this one
    ends: those that want to wait here."""
    return session.get(Tenant, name, with_for_update=True)


def charge(session: Session, name: str, size_bytes: int, args: LibraryArgs, now_us: int) -> int:
    """Lock the tenant and count one more file. Returns its time, Unix microseconds: later than that of every
    file before. Raises QuotaExceeded."""
    session.execute(_INSERT_TENANT, {"name": name})
    tenant = session.get_one(Tenant, name, with_for_update=True)
    _require_room(tenant, size_bytes, args)
    tenant.files += 1
    tenant.bytes += size_bytes
    tenant.last_us = max(tenant.last_us + 1, now_us)
    return tenant.last_us


def require_room(session: Session, name: str, size_bytes: int, args: LibraryArgs) -> None:
    """Raises QuotaExceeded where `charge` would."""
    tenant = session.get(Tenant, name)
    _require_room(tenant or Tenant(name=name, files=0, bytes=0, last_us=0), size_bytes, args)


def live(session: Session, tenant: str, sha256: str) -> Content | None:
    """The content of these bytes that files of the tenant refer to."""
    return session.scalars(
        select(Content).where(
            Content.tenant == tenant, Content.sha256 == sha256, Content.state == ContentState.LIVE
        )
    ).one_or_none()


def reserve(session: Session, tenant: str, content: StoredContent, now_us: int) -> None:
    """An object is going to be put there."""
    session.add(
        Content(
            key=content.key,
            tenant=tenant,
            sha256=content.sha256,
            size_bytes=content.size_bytes,
            state=ContentState.PENDING,
            since_us=now_us,
        )
    )


def settle(session: Session, key: str, now_us: int) -> bool:
    """The object is there, and a file is added that refers to it; the tenant is locked. False: that took so
    long that it was doomed."""
    return _move(session, key, ContentState.PENDING, ContentState.LIVE, now_us)


def doom_pending(session: Session, key: str, now_us: int) -> bool:
    """The object is not needed. False: it was settled, or doomed before."""
    return _move(session, key, ContentState.PENDING, ContentState.DOOMED, now_us)


def doom_unused(session: Session, key: str, now_us: int) -> bool:
    """Whether no file refers to it any more, not even one that was deleted and not purged; then it is doomed.
    The tenant is locked."""
    if session.scalars(select(File.id).where(File.content_key == key).limit(1)).first() is not None:
        return False
    return _move(session, key, ContentState.LIVE, ContentState.DOOMED, now_us)


def since(session: Session, state: ContentState, before_us: int, limit: int) -> Sequence[str]:
    """Keys of contents that came into this state before this time, the oldest first."""
    return session.scalars(
        select(Content.key)
        .where(Content.state == state, Content.since_us < before_us)
        .order_by(Content.since_us, Content.key)
        .limit(limit)
    ).all()


def is_live(session: Session, key: str) -> bool:
    """Whether files refer to it."""
    return session.scalar(select(Content.state).where(Content.key == key)) == ContentState.LIVE


def drop(session: Session, key: str) -> None:
    """The object of a doomed content is gone for good."""
    session.execute(delete(Content).where(Content.key == key, Content.state == ContentState.DOOMED))


def _move(session: Session, key: str, old: ContentState, new: ContentState, now_us: int) -> bool:
    moved = session.scalar(
        update(Content)
        .where(Content.key == key, Content.state == old)
        .values(state=new, since_us=now_us)
        .returning(Content.key)
    )
    return moved is not None


def _require_room(tenant: Tenant, size_bytes: int, args: LibraryArgs) -> None:
    if tenant.files >= args.tenant_files:
        raise QuotaExceeded(
            f"You have {tenant.files} files, as many as may be kept. Delete some, or have the operator raise "
            "library.tenant_files.",
            param="file",
        )
    if tenant.bytes + size_bytes > args.tenant_bytes:
        raise QuotaExceeded(
            f"Your files have {tenant.bytes} bytes, and with this one they would have more than the "
            f"{args.tenant_bytes} that may be kept. Delete some, or have the operator raise "
            "library.tenant_bytes.",
            param="file",
        )
