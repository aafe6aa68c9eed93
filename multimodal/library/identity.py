"""Which library this is: an index on a server belongs to one, and the sweep of another would empty it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from uuid import NAMESPACE_URL, uuid4, uuid5

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from multimodal.config import LibraryArgs
from multimodal.errors import ConfigError

FILE = Path("library", "id")
"""In MULTIMODAL_STATE, beside the database."""


def library_id(args: LibraryArgs, state: Path) -> str:
    """A UUID that stays with the database of uploaded files: its place, or where that is a file of this
    machine, a random one beside it. Raises ConfigError."""
    if args.database_url is not None:
        try:
            url = make_url(args.database_url)
        except ArgumentError:
            raise ConfigError("library.database_url is no SQLAlchemy URL of a database known here.") from None
        return str(uuid5(NAMESPACE_URL, f"{url.host}:{url.port}/{url.database}"))
    path = state / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        partial = path.with_name(f"id-{uuid4().hex}")
        partial.write_text(str(uuid4()), encoding="ascii")
        with suppress(FileExistsError):  # another process was faster: its id counts
            os.link(partial, path)
        partial.unlink()
    return path.read_text(encoding="ascii")
