"""The tier in Redis: on a real server that is slow, full, gone and back again. No test measures a time."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
import uvloop
from redis.asyncio.connection import AbstractConnection

from multimodal.cache import remote, wire
from multimodal.cache.counts import breaker_open
from multimodal.cache.lookup import FIRST_BYTES, PIECE_BYTES
from multimodal.cache.remote import PREFIX, RedisTier
from multimodal.config import CacheArgs
from multimodal.errors import ConfigError
from tests.redis_server import RedisServer, running_redis
from tests.unit.cache.redis_cases import (
    Clock,
    black_hole,
    errors,
    key,
    left_alone,
    opened,
    patient,
    scripted,
)


@pytest.fixture(autouse=True)
def _gauge() -> None:
    """Tests before this one may have left it open."""
    breaker_open(False)


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    """An empty server. Whoever harms it has one of its own."""
    with running.client() as client:
        client.flushall()
    return running


@pytest.fixture
def mortal() -> Iterator[RedisServer]:
    """A server of one's own."""
    with running_redis() as server:
        yield server


async def put_until_kept(tier: RedisTier, name: str, data: bytes) -> None:
    """Fill, and warm a connection."""
    await tier.put(key(name), data, 60.0)
    while await tier.get(key(name)) != data:
        await asyncio.sleep(0.01)


# --- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size_bytes",
    [1, FIRST_BYTES - 1, FIRST_BYTES, FIRST_BYTES + 1, FIRST_BYTES + PIECE_BYTES, 3 * PIECE_BYTES + 7],
)
async def test_a_value_of_any_size_is_the_same_for_another_replica(
    server: RedisServer, size_bytes: int
) -> None:
    data = os.urandom(size_bytes)
    async with opened(patient(server.url)) as one, opened(patient(server.url)) as other:
        assert await other.get(key("a")) is None
        await one.put(key("a"), data, 60.0)
        assert await other.get(key("a")) == data
        assert await one.get(key("a")) == data
        assert await one.get(key("b")) is None


async def test_a_small_value_is_asked_for_once_and_what_is_missing_too(server: RedisServer) -> None:
    with server.client() as client:
        async with opened(patient(server.url)) as tier:
            await tier.put(key("a"), b"data", 60.0)
            client.config_resetstat()
            await tier.get(key("a"))
            await tier.get(key("b"))
        stats = client.info("commandstats")
    assert isinstance(stats, dict)
    assert {name: one["calls"] for name, one in stats.items() if "strlen" in name or "getrange" in name} == {
        "cmdstat_strlen": 2,
        "cmdstat_getrange": 2,
    }


@pytest.mark.parametrize(("ttl_s", "most_ms"), [(60.0, 60_000), (0.25, 250), (1e300, 10**12)])
async def test_values_are_kept_for_their_time(server: RedisServer, ttl_s: float, most_ms: int) -> None:
    async with opened(patient(server.url)) as tier:
        await tier.put(key("a"), b"data", ttl_s)
    with server.client() as client:
        left_ms = client.pttl(PREFIX + key("a").digest)
    assert left_ms == -2 or 0 < int(str(left_ms)) <= most_ms


@pytest.mark.parametrize("ttl_s", [0.05, 0.0])
async def test_a_value_is_gone_after_its_time(server: RedisServer, ttl_s: float) -> None:
    refused = errors("refused")
    async with opened(patient(server.url)) as tier:
        await tier.put(key("a"), b"data", ttl_s)
        while await tier.get(key("a")) is not None:
            await asyncio.sleep(0.01)
    assert errors("refused") == refused


async def test_what_is_too_large_is_neither_kept_nor_read(server: RedisServer) -> None:
    before = errors("too_large")
    small = patient(server.url).model_copy(update={"value_bytes": 100})
    async with opened(small) as tier, opened(patient(server.url)) as other:
        await tier.put(key("a"), bytes(101), 60.0)
        assert await other.get(key("a")) is None
        await other.put(key("a"), bytes(101), 60.0)
        assert await tier.get(key("a")) is None
        await tier.put(key("a"), bytes(100), 60.0)
        assert await tier.get(key("a")) == bytes(100)
    assert errors("too_large") == before + 2


async def test_a_large_value_that_changes_while_it_is_read_is_none() -> None:
    first = b":%d\r\n$%d\r\n%s\r\n" % (2 * FIRST_BYTES, FIRST_BYTES, bytes(FIRST_BYTES))
    async with scripted(first, b"$3\r\nabc\r\n") as url, opened(patient(url)) as tier:
        assert await tier.get(key("a")) is None


async def test_many_lookups_at_once_wait_for_connections(server: RedisServer) -> None:
    names = [str(number) for number in range(5 * remote.LOOKUPS)]
    async with opened(patient(server.url)) as tier:
        for name in names:
            await tier.put(key(name), name.encode(), 60.0)
        found = await asyncio.gather(*(tier.get(key(name)) for name in names))
        with server.client() as client:
            connected = client.info("clients")
    assert found == [name.encode() for name in names]
    assert isinstance(connected, dict)
    assert connected["connected_clients"] <= remote.LOOKUPS + remote.WRITES + 1


# --- trouble -----------------------------------------------------------------------------------


async def test_requests_go_on_when_redis_crashes_and_find_it_again_when_it_is_back(
    mortal: RedisServer,
) -> None:
    clock = Clock()
    async with opened(patient(mortal.url), clock=clock) as tier:
        await put_until_kept(tier, "a", b"data")
        mortal.kill()
        before = errors("connection")
        for _ in range(3):
            assert await tier.get(key("a")) is None
        assert left_alone()
        assert await tier.get(key("a")) is None
        await tier.put(key("a"), b"data", 60.0)
        assert errors("connection") == before + 3
        mortal.start()
        clock.ahead_s += 5.0
        assert await tier.get(key("a")) is None
        assert not left_alone()
        await tier.put(key("a"), b"again", 60.0)
        assert await tier.get(key("a")) == b"again"


async def test_a_crash_in_the_middle_of_a_value_is_a_miss(mortal: RedisServer) -> None:
    async with opened(patient(mortal.url)) as tier:
        await put_until_kept(tier, "a", bytes(4 * PIECE_BYTES))
        mortal.freeze()
        asked = asyncio.ensure_future(tier.get(key("a")))
        await asyncio.sleep(0.05)
        mortal.kill()
        assert await asked is None


async def test_a_value_that_stops_coming_is_a_miss_and_its_connection_is_closed() -> None:
    first = b":%d\r\n$%d\r\n%s\r\n" % (2 * FIRST_BYTES, FIRST_BYTES, bytes(FIRST_BYTES))
    closed = 0

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal closed
        await reader.read(2**16)
        writer.write(first + b"$100\r\nhalf")
        while await reader.read(2**16):
            pass
        closed += 1
        writer.close()

    async with await asyncio.start_server(stall, "127.0.0.1", 0) as stalling:
        url = f"redis://127.0.0.1:{stalling.sockets[0].getsockname()[1]}/0"
        async with opened(CacheArgs(redis_url=url, redis_wait_s=0.2)) as tier:
            assert [await tier.get(key("a")) for _ in range(3)] == [None] * 3
            while closed < 3:
                await asyncio.sleep(0.01)
            assert left_alone()


async def test_a_connection_that_redis_closed_is_made_again(server: RedisServer) -> None:
    before = errors("connection")
    async with opened(patient(server.url)) as tier:
        await put_until_kept(tier, "a", b"data")
        with server.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0.1)
        assert await tier.get(key("a")) == b"data"
    assert errors("connection") == before


async def test_nobody_waits_for_a_server_that_does_not_answer(mortal: RedisServer) -> None:
    clock = Clock()
    args = CacheArgs(redis_url=mortal.url)
    async with opened(args, clock=clock) as tier:
        await put_until_kept(tier, "a", b"data")
        before = errors("timeout")
        mortal.freeze()
        while not left_alone():
            assert await tier.get(key("a")) is None
        assert errors("timeout") >= before + args.breaker_failures
        clock.ahead_s += args.breaker_s
        assert await tier.get(key("a")) is None
        assert left_alone()
        mortal.thaw()
        while await tier.get(key("a")) != b"data":
            clock.ahead_s += args.breaker_s
            await asyncio.sleep(0.01)
        assert not left_alone()


async def test_a_reply_that_comes_late_is_nobody_elses(mortal: RedisServer) -> None:
    args = CacheArgs(redis_url=mortal.url, breaker_failures=10**6)
    async with opened(args) as tier, opened(patient(mortal.url)) as other:
        for name in "abcdefgh":
            await other.put(key(name), name.encode(), 60.0)
        await put_until_kept(tier, "a", b"a")
        for _ in range(20):
            mortal.freeze()
            assert await tier.get(key("a")) is None
            mortal.thaw()
            for name in "bcdefgh":
                assert await tier.get(key(name)) in (None, name.encode())


async def test_a_slow_reply_costs_no_connection(mortal: RedisServer) -> None:
    async with opened(CacheArgs(redis_url=mortal.url, breaker_failures=10**6)) as tier:
        await put_until_kept(tier, "a", b"a")
        with mortal.client() as client:
            before = client.info("stats")
        mortal.freeze()
        assert await tier.get(key("a")) is None
        mortal.thaw()
        while await tier.get(key("a")) is None:
            await asyncio.sleep(0.01)
        with mortal.client() as client:
            after = client.info("stats")
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["total_connections_received"] <= before["total_connections_received"] + 2


async def test_whoever_goes_away_in_the_middle_of_a_value_disturbs_nobody(server: RedisServer) -> None:
    large, small = os.urandom(16 * PIECE_BYTES), b"small"
    async with opened(patient(server.url)) as tier:
        await put_until_kept(tier, "large", large)
        await put_until_kept(tier, "small", small)
        for turns in range(0, 60, 3):
            asked = asyncio.ensure_future(tier.get(key("large")))
            for _ in range(turns):
                await asyncio.sleep(0)
            asked.cancel()
            assert await tier.get(key("small")) == small
        assert await tier.get(key("large")) == large


async def test_a_probe_that_nobody_waits_for_any_more_makes_room_for_another(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, reading, send = Clock(), asyncio.Event(), wire.Line.send

    async def send_first(line: wire.Line, *commands: tuple[wire.Argument, ...]) -> None:
        if len(commands) == 1:
            reading.set()
            await asyncio.Event().wait()
        await send(line, *commands)

    args = patient(server.url).model_copy(update={"breaker_failures": 1})
    async with opened(args, clock=clock) as tier:
        await put_until_kept(tier, "a", bytes(2 * FIRST_BYTES))
        with server.client() as client:
            client.rpush(PREFIX + key("b").digest, "thing")
        assert await tier.get(key("b")) is None
        assert left_alone()
        clock.ahead_s += args.breaker_s
        with monkeypatch.context() as patch:
            patch.setattr(wire.Line, "send", send_first)
            probe = asyncio.ensure_future(tier.get(key("a")))
            await reading.wait()
            assert await tier.get(key("a")) is None
            probe.cancel()
            await asyncio.wait([probe])
            await asyncio.sleep(0.01)
        assert await tier.get(key("a")) == bytes(2 * FIRST_BYTES)
        assert not left_alone()


async def test_connecting_to_a_black_hole_is_a_miss_and_then_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "CONNECT_S", 0.02)
    with black_hole() as url:
        async with opened(CacheArgs(redis_url=url)) as tier:
            while not left_alone():
                assert await tier.get(key("a")) is None
                await tier.put(key("a"), b"data", 60.0)
            assert await tier.get(key("a")) is None


async def test_a_connection_that_takes_long_is_made_although_nobody_waits(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lookups are too late, and none of them is held against Redis."""
    lasts, prepare = asyncio.Event(), wire._prepare

    async def prepare_slowly(connection: AbstractConnection) -> None:
        await lasts.wait()
        await prepare(connection)

    async with opened(CacheArgs(redis_url=server.url, breaker_failures=1)) as tier:
        with server.client() as client:
            client.set(PREFIX + key("a").digest, b"data")
        monkeypatch.setattr(wire, "_prepare", prepare_slowly)
        assert [await tier.get(key("a")) for _ in range(3)] == [None] * 3
        assert not left_alone()
        lasts.set()
        with server.client() as client:
            while client.info("clients")["connected_clients"] < 4:
                await asyncio.sleep(0.01)
        assert not left_alone()


# Replicas of Ray Serve run on uvloop.
on_both_loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
NewLoop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


@on_both_loops
def test_a_busy_event_loop_is_not_held_against_redis(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, new_loop: NewLoop
) -> None:
    """The reply lies in the socket when the wait is over."""
    send = wire.Line.send

    async def send_and_be_busy(line: wire.Line, *commands: tuple[wire.Argument, ...]) -> None:
        await send(line, *commands)
        asyncio.get_running_loop().call_soon(time.sleep, 0.5)

    async def look_up() -> None:
        async with opened(CacheArgs(redis_url=server.url, breaker_failures=1)) as tier:
            async with tier._wire.line():
                pass  # connected
            with monkeypatch.context() as patch:
                patch.setattr(wire.Line, "send", send_and_be_busy)
                assert [await tier.get(key("a")) for _ in range(3)] == [data] * 3
            assert not left_alone()

    data = os.urandom(FIRST_BYTES)
    with server.client() as client:
        client.set(PREFIX + key("a").digest, data)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(look_up())


@on_both_loops
def test_a_loop_that_is_busy_while_a_large_value_comes_is_not_held_against_redis(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, new_loop: NewLoop
) -> None:
    receive = wire.Line.receive

    async def receive_and_be_busy(line: wire.Line) -> wire.Reply:
        reply = await receive(line)
        if isinstance(reply, bytes) and len(reply) == PIECE_BYTES:
            time.sleep(0.3)
        return reply

    async def look_up() -> None:
        args = CacheArgs(redis_url=server.url, redis_wait_s=0.1, redis_bytes_per_s=1e12, breaker_failures=1)
        async with opened(args) as tier:
            assert await tier.get(key("a")) is None
            assert not left_alone()

    monkeypatch.setattr(wire.Line, "receive", receive_and_be_busy)
    with server.client() as client:
        client.set(PREFIX + key("a").digest, bytes(4 * PIECE_BYTES))
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(look_up())


@on_both_loops
def test_the_loop_being_busy_before_redis_is_asked_is_not_held_against_it(
    server: RedisServer, new_loop: NewLoop
) -> None:
    async def look_up() -> None:
        async with opened(CacheArgs(redis_url=server.url, breaker_failures=1)) as tier:
            async with tier._wire.line():
                pass  # connected
            for _ in range(3):
                asyncio.get_running_loop().call_soon(time.sleep, 0.05)
                await tier.get(key("a"))
                assert not left_alone()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(look_up())


@on_both_loops
def test_values_of_all_sizes_and_a_server_that_stops(mortal: RedisServer, new_loop: NewLoop) -> None:
    async def look_up() -> None:
        async with opened(patient(mortal.url)) as tier, opened(CacheArgs(redis_url=mortal.url)) as hurried:
            for size_bytes in (1, FIRST_BYTES + 1, 3 * PIECE_BYTES):
                data = os.urandom(size_bytes)
                await tier.put(key("a"), data, 60.0)
                assert await tier.get(key("a")) == data
            await put_until_kept(hurried, "a", b"data")
            mortal.freeze()
            while not left_alone():
                assert await hurried.get(key("a")) is None
            mortal.thaw()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(look_up())


# --- refusals ----------------------------------------------------------------------------------


async def test_the_password_is_needed_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    with running_redis("--requirepass", "hunter2") as server:
        async with opened(patient(server.url), "hunter2") as tier:
            await tier.put(key("a"), b"data", 60.0)
            assert await tier.get(key("a")) == b"data"
            assert "hunter2" not in repr(tier) + repr(vars(tier))
        for wrong in ("swordfish", None):
            before = errors("auth")
            async with opened(patient(server.url), wrong, clock) as tier:
                await tier.put(key("a"), b"data", 60.0)
                assert [await tier.get(key("a")) for _ in range(3)] == [None] * 3
                assert errors("auth") == before + 3
                assert left_alone()
                assert "swordfish" not in repr(tier) + repr(vars(tier))
    assert "auth" in caplog.text
    assert not {"hunter2", "swordfish"} & set(caplog.text.split())


async def test_a_full_redis_is_read_and_not_left_alone(server: RedisServer) -> None:
    before = errors("full")
    async with opened(patient(server.url)) as tier:
        await tier.put(key("a"), b"data", 60.0)
        with server.client() as client:
            client.config_set("maxmemory", 1)
        try:
            for _ in range(5):
                await tier.put(key("b"), b"data", 60.0)
            assert await tier.get(key("a")) == b"data"
        finally:
            with server.client() as client:
                client.config_set("maxmemory", 0)
        assert await tier.get(key("b")) is None
    assert errors("full") == before + 5
    assert not left_alone()


async def test_a_replica_is_read_and_not_left_alone(mortal: RedisServer) -> None:
    before = errors("read_only")
    async with opened(patient(mortal.url)) as tier:
        await tier.put(key("a"), b"data", 60.0)
        with mortal.client() as client:
            client.replicaof("127.0.0.1", "1")
        for _ in range(5):
            await tier.put(key("b"), b"data", 60.0)
        assert await tier.get(key("a")) == b"data"
    assert errors("read_only") == before + 5


async def test_another_kind_of_thing_under_a_key_is_a_miss(server: RedisServer) -> None:
    before = errors("refused")
    async with opened(patient(server.url)) as tier:
        await tier.put(key("b"), b"data", 60.0)
        with server.client() as client:
            client.rpush(PREFIX + key("a").digest, "thing")
        for _ in range(5):
            assert await tier.get(key("a")) is None
            assert await tier.get(key("b")) == b"data"
    assert errors("refused") == before + 5


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b":1\r\n:1\r\n",
        b"$1\r\na\r\n$1\r\na\r\n",
        b"$-1\r\n$-1\r\n",
        b"*1\r\n:1\r\n:1\r\n",
        b":many\r\n",
        b"-ERR \xff\r\n-LOADING\r\n",
    ],
)
async def test_what_is_no_redis_is_a_miss_and_then_left_alone(said: bytes) -> None:
    async with scripted(said) as url, opened(patient(url)) as tier:
        assert [await tier.get(key("a")) for _ in range(3)] == [None] * 3
        assert left_alone()


async def test_half_a_reply_is_a_miss() -> None:
    async with scripted(b":5\r\n$5\r\nab", closes=True) as url, opened(patient(url)) as tier:
        assert await tier.get(key("a")) is None


# --- limits ------------------------------------------------------------------------------------


async def test_writes_that_redis_is_too_slow_for_are_dropped(
    mortal: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = errors("dropped")
    monkeypatch.setattr(remote, "WRITE_S", 0.1)
    async with opened(patient(mortal.url)) as tier:
        mortal.freeze()
        await asyncio.gather(
            *(tier.put(key(str(number)), b"data", 60.0) for number in range(remote.WAITING_WRITES + 8))
        )
        assert errors("dropped") == before + 8
        assert left_alone()
        mortal.thaw()


async def test_waiting_writes_have_a_size_that_a_single_one_may_exceed(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = errors("dropped")
    monkeypatch.setattr(remote, "WAITING_BYTES", 100)
    async with opened(patient(server.url)) as tier:
        await tier.put(key("a"), bytes(101), 60.0)
        await asyncio.gather(*(tier.put(key(name), bytes(50), 60.0) for name in "bcd"))
        assert await tier.get(key("a")) == bytes(101)
        assert [await tier.get(key(name)) for name in "bcd"] == [bytes(50), bytes(50), None]
        await tier.put(key("d"), bytes(50), 60.0)
        assert await tier.get(key("d")) == bytes(50)
    assert errors("dropped") == before + 1


async def test_a_closed_tier_has_nothing_and_keeps_nothing(server: RedisServer) -> None:
    async with opened(patient(server.url)) as tier:
        await tier.put(key("a"), b"data", 60.0)
        asked = asyncio.ensure_future(tier.get(key("a")))
        await asyncio.sleep(0)
        await tier.close()
        assert await asked in (None, b"data")
        assert await tier.get(key("a")) is None
        await tier.put(key("b"), b"data", 60.0)
    async with opened(patient(server.url)) as tier:
        assert await tier.get(key("b")) is None


async def test_a_lookup_under_way_ends_with_its_tier(mortal: RedisServer) -> None:
    async with opened(patient(mortal.url)) as tier:
        await put_until_kept(tier, "a", b"data")
        mortal.freeze()
        asked = asyncio.ensure_future(tier.get(key("a")))
        await asyncio.sleep(0.05)
        await tier.close()
        assert await asked is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://host:6379/0",
        "redis://host:port/0",
        "redis://host:99999/0",
        "redis://:hunter2@host:6379/0",
        "redis://ann:hunter2@host/0",
        "rediss://host?password=hunter2",
        "rediss://host?ssl_password=hunter2",
        "redis://host?socket_timeout=100",
        "redis://host?db=hunter2",
        "redis://[host",
        "rediss://host?ssl_ca_certs=/nowhere.pem",
        "rediss://host?ssl_cert_reqs=hunter2",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^cache\.redis_url ") as raised:
        RedisTier(CacheArgs(redis_url=url, redis_password_env="THE_WORD"), None)
    assert "hunter2" not in str(raised.value)
    assert ("THE_WORD" in raised.value.message) == (
        "hunter2" in url and "db=" not in url and "reqs=" not in url
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis://host",
        "redis://ann@host:6380/3",
        "rediss://host:6379/0?ssl_cert_reqs=none",
        "unix:///socket?db=1",
    ],
)
def test_usable_urls(url: str) -> None:
    RedisTier(CacheArgs(redis_url=url), "word")
