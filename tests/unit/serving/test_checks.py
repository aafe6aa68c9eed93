from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from multimodal.config import ApiArgs, AppArgs, GeneratorArgs
from multimodal.errors import ConfigError
from multimodal.serving import checks, memory

KEYS = AppArgs(api=ApiArgs(keys={"0" * 64: "tenant"}))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on loopback that somebody listens on, with a free one after it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_accepts_the_python_of_the_lock_files() -> None:
    checks.check_python((3, 11))


@pytest.mark.parametrize("version", [(3, 10), (3, 12)])
def test_refuses_other_pythons(version: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"CPython 3\.11 is needed and this is 3\.1[02]"):
        checks.check_python(version)


def test_refuses_a_port_that_is_taken(taken: int) -> None:
    with pytest.raises(ConfigError, match=f"Port {taken} on 127.0.0.1 is taken.*MULTIMODAL_PORT"):
        checks.check_port("127.0.0.1", taken)


def test_a_port_on_all_interfaces_is_taken_by_a_listener_on_one(taken: int) -> None:
    with pytest.raises(ConfigError, match="is taken"):
        checks.check_port("0.0.0.0", taken)


def test_accepts_a_port_as_soon_as_its_listener_is_gone() -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as every server does
        listener.bind(("127.0.0.1", 0))
        free = listener.getsockname()[1]
        listener.listen()
        with socket.create_connection(("127.0.0.1", free)), listener.accept()[0]:
            pass
    checks.check_port("127.0.0.1", free)


@pytest.mark.parametrize("host", ["203.0.113.7", "not a host", "a" * 300])
def test_refuses_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(ConfigError, match="MULTIMODAL_HOST"):
        checks.check_port(host, 8000)


def test_takes_the_dashboard_port_that_is_wanted() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert checks.choose_dashboard_port(free) == free


def test_takes_a_later_port_for_the_dashboard(taken: int) -> None:
    assert checks.choose_dashboard_port(taken) > taken


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.0.2.1", False),
    ],
)
def test_tells_loopback_from_the_rest(host: str, expected: bool) -> None:
    assert checks.is_loopback(host) is expected


@pytest.mark.parametrize("args", [AppArgs(), None])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_nobody_else_may_connect_without_keys(host: str, args: AppArgs | None) -> None:
    with pytest.raises(ConfigError, match="no API keys"):
        checks.check_exposure(host, args)


def test_others_may_connect_with_keys() -> None:
    checks.check_exposure("0.0.0.0", KEYS)


def test_refuses_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * checks.GIB)
    with pytest.raises(ConfigError, match=r"About 6 GiB of memory must be free and 2\.0 GiB are"):
        checks.check_memory(AppArgs())
    checks.check_memory(None)


def test_accepts_enough_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 8 * checks.GIB)
    checks.check_memory(AppArgs())


def test_a_larger_cache_needs_more_memory_unless_it_is_on_an_accelerator() -> None:
    large = GeneratorArgs(kv_cache_bytes=30 * checks.GIB)
    assert checks.needed_bytes(AppArgs(generator=large)) == checks.BASE_BYTES + 30 * checks.GIB
    on_gpu = large.model_copy(update={"gpu_memory_utilization": 0.5})
    assert checks.needed_bytes(AppArgs(generator=on_gpu)) == checks.BASE_BYTES


def test_refuses_a_limited_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "address_space_bytes", lambda: 8 * checks.GIB)
    with pytest.raises(ConfigError, match="ulimit -v unlimited"):
        checks.check_memory(AppArgs())


def test_names_the_models_that_are_missing_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        checks.check_models(AppArgs(), tmp_path, "multimodal models pull")
    assert "embedded:minilm" in caught.value.message
    assert caught.value.message.endswith("run `multimodal models pull`.")


def test_needs_no_models_for_other_graphs(tmp_path: Path) -> None:
    checks.check_models(None, tmp_path, "")
