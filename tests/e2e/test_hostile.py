"""Hostile and broken input: a clear refusal, one worker at most, and the server goes on."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psutil
import pytest

from multimodal.serving.background import RunningServer
from tests import media
from tests.e2e.conftest import MODEL, ROOT
from tests.e2e.sockets import listening_beyond_loopback

Part = dict[str, object]


def image(url: str) -> Part:
    return {"type": "image_url", "image_url": {"url": url}}


def picture(data: bytes) -> Part:
    return image(media.data_url("image/png", data))


def video(data: bytes) -> Part:
    return {"type": "video_url", "video_url": {"url": media.data_url("video/mp4", data)}}


def refusals() -> Iterator[tuple[str, Part, int, str]]:
    """name, part, status, code."""
    drawn = media.picture_with_text("HELLO")
    yield "a remote address", image("http://127.0.0.1:8000/a.png"), 400, "remote_url_not_allowed"
    yield "a local file", image("file:///etc/passwd"), 400, "remote_url_not_allowed"
    yield "embeddings", {"type": "image_embeds", "image_embeds": "AAAA"}, 400, "unknown_part_type"
    yield "broken base64", image("data:image/png;base64,???"), 400, "invalid_media"
    yield "nothing", image("data:image/png;base64,"), 400, "invalid_media"
    yield "text as a picture", picture(b"not a picture"), 400, "invalid_media"
    yield "half a picture", picture(media.truncated(drawn)), 400, "invalid_media"
    yield "a bomb", picture(media.bomb("png")), 413, "media_too_large"
    yield "a picture as a video", video(drawn), 400, "invalid_media"
    half = media.truncated(media.captioned_clip(captions=[("red", "A")]))
    yield "half a video", video(half), 400, "invalid_media"


@pytest.mark.parametrize(
    ("part", "status", "code"), [pytest.param(*rest, id=name) for name, *rest in refusals()]
)
def test_it_is_refused_with_a_reason_and_the_part_is_named(
    http: httpx.Client, part: Part, status: int, code: str
) -> None:
    content = [{"type": "text", "text": "What is it?"}, part]
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}]}
    response = http.post("/v1/chat/completions", json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert error["param"].startswith("messages.0.content.1")
    assert str(ROOT) not in response.text
    assert "Traceback" not in response.text
    assert http.get("/readyz").status_code == 200


def test_a_body_that_is_too_large_is_refused(http: httpx.Client) -> None:
    response = http.post("/v1/chat/completions", content=b" " * (65 * 1024 * 1024))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


def test_everything_listens_on_loopback_only(server: RunningServer) -> None:
    processes = psutil.Process(server.pid).children(recursive=True)
    assert len(processes) > 10
    assert listening_beyond_loopback(processes) == []


def test_pages_of_other_sites_cannot_use_it_through_a_browser(http: httpx.Client) -> None:
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        assert http.get("/v1/models", headers=headers).status_code == 403
