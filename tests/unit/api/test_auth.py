"""Keys mean tenants; without keys only this machine is served."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.api import create_app
from multimodal.api.auth import KeyRing
from multimodal.config import ApiArgs, AppArgs
from multimodal.errors import ConfigError, Unauthenticated
from tests.unit.api.fakes import FakeService, call, chat_body

CHAT = "/v1/chat/completions"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


WITH_KEYS = AppArgs(api=ApiArgs(keys={_digest("key-a"): "team-a", _digest("key-b").upper(): "team-b"}))


@pytest.mark.parametrize(
    ("authorization", "tenant"),
    [("Bearer key-a", "team-a"), ("bearer key-b", "team-b"), ("Bearer  key-a ", "team-a")],
)
async def test_key_gives_the_tenant(authorization: str, tenant: str) -> None:
    service = FakeService()
    app = create_app(lambda: service, WITH_KEYS)
    caller = await call(app, CHAT, chat_body(), headers={"authorization": authorization})

    assert caller.status == 200
    assert service.contexts[0].tenant == tenant


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "Basic key-a", "key-a"])
async def test_other_keys_are_refused_before_the_body_is_read(authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    caller = await call(create_app(FakeService, WITH_KEYS), CHAT, chat_body(), headers=headers)

    assert caller.status == 401
    assert (caller.error["type"], caller.error["code"]) == ("authentication_error", "invalid_api_key")
    assert caller.headers["www-authenticate"] == "Bearer"
    assert caller.received == 0


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/nothing"])
async def test_everything_needs_a_key(path: str) -> None:
    caller = await call(create_app(FakeService, WITH_KEYS), path, method="GET")
    assert caller.status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("args", [AppArgs(), WITH_KEYS])
async def test_health_is_open_to_anyone(args: AppArgs, path: str) -> None:
    app = create_app(FakeService, args)
    caller = await call(app, path, method="GET", client=("10.0.0.1", 1), headers={"host": "elsewhere"})
    assert caller.status == 200


async def test_with_keys_any_address_and_host_is_served() -> None:
    app = create_app(FakeService, WITH_KEYS)
    headers = {"authorization": "Bearer key-a", "host": "api.example.com", "x-forwarded-for": "10.0.0.9"}
    assert (await call(app, CHAT, chat_body(), client=("10.0.0.1", 1), headers=headers)).status == 200


async def test_without_keys_the_header_is_ignored() -> None:
    service = FakeService()
    app = create_app(lambda: service, AppArgs())
    assert (await call(app, CHAT, chat_body(), headers={"authorization": "Bearer any"})).status == 200
    assert service.contexts[0].tenant == "local"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
async def test_loopback_is_served(address: str) -> None:
    app = create_app(FakeService, AppArgs())
    assert (await call(app, "/v1/models", method="GET", client=(address, 1))).status == 200


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "0.0.0.0", "localhost", "", None])
async def test_other_addresses_are_refused(address: str | None) -> None:
    app = create_app(FakeService, AppArgs())
    client = None if address is None else (address, 1)
    caller = await call(app, CHAT, chat_body(), client=client)

    assert caller.status == 403
    assert (caller.error["type"], caller.error["code"]) == ("permission_error", "forbidden")
    assert caller.received == 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000"])
async def test_local_hosts_are_served(host: str) -> None:
    app = create_app(FakeService, AppArgs())
    assert (await call(app, "/v1/models", method="GET", headers={"host": host})).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::1", ""]
)
async def test_foreign_hosts_are_refused(host: str) -> None:
    app = create_app(FakeService, AppArgs())
    assert (await call(app, "/v1/models", method="GET", headers={"host": host})).status == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:3000", 200), ("https://evil.example", 403), ("null", 403)],
)
async def test_pages_of_other_sites_are_refused(origin: str, status: int) -> None:
    app = create_app(FakeService, AppArgs())
    assert (await call(app, CHAT, chat_body(), headers={"origin": origin})).status == status


async def test_callers_behind_a_proxy_are_refused() -> None:
    app = create_app(FakeService, AppArgs())
    assert (await call(app, CHAT, chat_body(), headers={"x-forwarded-for": "10.0.0.9"})).status == 403


async def test_further_hosts_can_be_allowed() -> None:
    app = create_app(FakeService, AppArgs(), allowed_hosts=("testserver",))
    assert (await call(app, "/v1/models", method="GET", headers={"host": "testserver"})).status == 200


@pytest.mark.parametrize("keys", [{"key-a": "team"}, {"0" * 63: "team"}, {"0" * 64: ""}])
def test_malformed_keys_stop_the_server(keys: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        create_app(FakeService, AppArgs(api=ApiArgs(keys=keys)))


@given(st.text())
def test_no_other_text_is_a_key(key: str) -> None:
    ring = KeyRing({_digest("key-a"): "team-a"})
    if key.strip() != "key-a":
        with pytest.raises(Unauthenticated):
            ring.tenant(f"Bearer {key}")
