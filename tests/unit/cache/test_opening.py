"""The whole cache as configured: two of them, as two replicas have, share one real Redis."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from multimodal.cache.features import Origin
from multimodal.cache.opening import open_cache
from multimodal.cache.remote import PREFIX, RedisTier
from multimodal.config import AppArgs, CacheArgs
from multimodal.errors import ConfigError
from multimodal.identity import SECRET_ENV
from multimodal.types import ImageText, RequestContext, TextLine
from tests.redis_server import RedisServer, running_redis
from tests.unit.cache.redis_cases import key, patient

TEXT = ImageText(lines=(TextLine(text="EXIT", confidence=0.9, box=(0.1, 0.2, 0.3, 0.4)),))
CTX = RequestContext(request_id="r", tenant="ann", deadline_s=time.time() + 3600)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MULTIMODAL_STATE, without secrets of whoever runs the tests."""
    monkeypatch.delenv(SECRET_ENV, raising=False)
    return tmp_path


class Replica:
    """A cache, and where its values came from."""

    def __init__(self, args: CacheArgs, home: Path, *, remote: bool = True) -> None:
        self.cache = open_cache(AppArgs(cache=args), home, remote=remote)

    async def ask(self, name: str) -> Origin:
        """What is made is kept before this returns, so that others find it."""
        outcome = await self.cache.get(CTX, key(name), ImageText, _make)
        assert outcome.value == TEXT
        await self.cache.settled()
        return outcome.origin


@asynccontextmanager
async def replica(args: CacheArgs, home: Path, *, remote: bool = True) -> AsyncIterator[Replica]:
    made = Replica(args, home, remote=remote)
    try:
        yield made
    finally:
        tier = made.cache._remote
        if isinstance(tier, RedisTier):
            await tier.close()


async def _make() -> ImageText:
    return TEXT


async def test_what_one_replica_had_made_the_other_one_has(server: RedisServer, home: Path) -> None:
    args = patient(server.url)
    async with replica(args, home) as one, replica(args, home) as other:
        assert [await one.ask("a"), await one.ask("a")] == [Origin.MADE, Origin.MEMORY]
        assert [await other.ask("a"), await other.ask("a")] == [Origin.REDIS, Origin.MEMORY]
        assert await other.ask("b") == Origin.MADE
        assert await one.ask("b") == Origin.REDIS


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
async def test_a_damaged_value_is_made_again(server: RedisServer, home: Path, damage: bytes | None) -> None:
    args, name = patient(server.url), PREFIX + key("a").digest
    async with replica(args, home) as one, replica(args, home) as other, replica(args, home) as third:
        await one.ask("a")
        with server.client() as client:
            stored = client.get(name)
            assert isinstance(stored, bytes)
            flipped = stored[:-1] + bytes([stored[-1] ^ 1])
            client.set(name, flipped if damage is None else damage)
        assert await other.ask("a") == Origin.MADE
        assert await third.ask("a") == Origin.REDIS


async def test_a_value_under_another_key_is_made_again(server: RedisServer, home: Path) -> None:
    args = patient(server.url)
    async with replica(args, home) as one, replica(args, home) as other:
        await one.ask("a")
        with server.client() as client:
            client.rename(PREFIX + key("a").digest, PREFIX + key("b").digest)
        assert await other.ask("b") == Origin.MADE


async def test_a_server_with_another_secret_believes_nothing(server: RedisServer, home: Path) -> None:
    args = patient(server.url)
    async with replica(args, home) as one, replica(args, home / "elsewhere") as other:
        await one.ask("a")
        assert await other.ask("a") == Origin.MADE


async def test_requests_go_on_without_redis(server: RedisServer, home: Path) -> None:
    async with replica(patient(server.url), home) as one:
        await one.ask("a")
        server.kill()
        assert [await one.ask(name) for name in "abcdef"] == [Origin.MEMORY] + [Origin.MADE] * 5
        assert await one.ask("b") == Origin.MEMORY


async def test_redis_is_not_asked_where_that_was_not_wished(server: RedisServer, home: Path) -> None:
    args = patient(server.url)
    async with replica(args, home) as one, replica(args, home, remote=False) as alone:
        await one.ask("a")
        assert [await alone.ask("a"), await alone.ask("a")] == [Origin.MADE, Origin.MEMORY]
    async with replica(CacheArgs(), home) as none:
        assert await none.ask("a") == Origin.MADE


async def test_the_password_comes_from_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_WORD", "hunter2")
    with running_redis("--requirepass", "hunter2") as server:
        args = patient(server.url).model_copy(update={"redis_password_env": "THE_WORD"})
        async with replica(args, home) as one, replica(args, home) as other:
            await one.ask("a")
            assert await other.ask("a") == Origin.REDIS


def test_what_cannot_be_opened_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = AppArgs(cache=CacheArgs(redis_url="http://host"))
    with pytest.raises(ConfigError, match=r"cache\.redis_url"):
        open_cache(bad, home)
    open_cache(bad, home, remote=False)
    monkeypatch.setenv(SECRET_ENV, "short")
    with pytest.raises(ConfigError, match=SECRET_ENV):
        open_cache(AppArgs(), home)
