"""What every error must be: OpenAI's envelope, and a sentence that gives nothing away."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping

import httpx

Error = Mapping[str, object]

_ENDPOINT = re.compile(r"/openapi\.json|/v1(/[a-z]+)+")
_GIVES_AWAY = re.compile(
    r"""
    (?<!\w)/\w | \w/\w+/ | \\(?!u\d)          # a path
    | \d+\.\d+\.\d+\.\d+ | ::1 | :\d{2}      # an address, a port
    | 0x[0-9a-f] | \.py\b | \bpid\b           # code and processes
    | Traceback | Exception | Error\b | \bray\b | ray:: | vllm | pydantic | \x1b
    """,
    re.VERBOSE,
)


def assert_harmless(text: str) -> None:
    """No path, address or name of this machine, and nothing of the code behind the server."""
    said = _ENDPOINT.sub("", text)
    found = _GIVES_AWAY.search(said)
    assert found is None, f"{found and found.group()!r} in {text!r}"
    host = socket.gethostname()
    assert host == "localhost" or host not in said


def error_of(response: httpx.Response) -> Error:
    """The error of an answer."""
    assert response.status_code >= 400
    assert response.headers["content-type"] == "application/json"
    return error_in(response.content)


def error_in(body: bytes | str) -> Error:
    """The error of an envelope."""
    document = json.loads(body)
    assert set(document) == {"error"}
    error = document["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"]
    assert error["code"]
    assert error["message"].endswith(".")
    assert_harmless(error["message"])
    return dict(error)


def events_of(lines: list[str]) -> list[str]:
    """The data of each event of a stream."""
    said = [line for line in lines if line]
    assert all(line.startswith("data: ") for line in said)
    return [line.removeprefix("data: ") for line in said]
