"""A crash between any two steps loses no acknowledged upload, and leaves nothing that is not swept."""

from __future__ import annotations

from dataclasses import dataclass, field

from multimodal.errors import FileUnknown
from multimodal.library.records import FileRecord
from multimodal.library.shelf import StoredLibrary
from tests.unit.library.steps import Crash, Steps
from tests.unit.library.stored import Stored, add, read


@dataclass
class Life:
    """What a client was told: files that were added, and those whose deletion was begun."""

    added: list[FileRecord] = field(default_factory=list)
    deleting: set[str] = field(default_factory=set)

    async def live(self, library: StoredLibrary) -> None:
        """Two files of the same bytes and another one come; two of the three go."""
        for data in (b"same", b"same", b"other"):
            self.added.append(await add(library, data))
        await library.write_thumbnail(self.added[2], 0, b"jpeg")
        for file in self.added[1:]:
            self.deleting.add(file.id)
            await library.delete("ann", file.id)
            await library.purge("ann", file.id)
        await library.sweep()

    async def check(self, library: StoredLibrary) -> None:
        """What was acknowledged is there, unless it may have been deleted."""
        for file in self.added:
            try:
                found = await library.get("ann", file.id)
            except FileUnknown:
                assert file.id in self.deleting
                continue
            data = b"".join([piece async for piece in library.read(found)])
            assert data == (b"other" if file is self.added[-1] and len(self.added) == 3 else b"same")


async def test_a_crash_between_any_two_steps(stored: Stored) -> None:
    stored.open()
    dying = stored.open()
    crashed, at = True, 0
    while crashed:
        life = Life()
        with Steps(dying, at):
            try:
                await life.live(dying)
                crashed = False
            except Crash:
                at += 1
        await life.check(stored.library)
        await clear(stored)
    assert at > 40


async def clear(stored: Stored) -> None:
    """Nothing is left when the rest is deleted and the sweep was there."""
    library = stored.library
    for tenant, file_id in await library.deleted():
        await library.purge(tenant, file_id)
    await stored.sweep_all()
    files = (await library.list("ann", limit=100)).files
    kept = {file.content.key for file in files}
    assert {key.partition(".d/")[0] for key in stored.objects()} == kept == set(stored.rows().contents)
    for file in files:
        assert await read(library, file) in (b"same", b"other")
        await library.delete("ann", file.id)
        await library.purge("ann", file.id)
    assert not stored.objects()
