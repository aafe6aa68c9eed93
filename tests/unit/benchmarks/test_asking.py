from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from benchmarks import made_up
from benchmarks.asking import (
    Http,
    InProcess,
    dense_body,
    embeddings_body,
    hybrid_body,
    take_turn,
)
from benchmarks.made_up import Question, Questions
from multimodal.api.schemas import EmbeddingsRequest
from multimodal.api.search import search_request
from multimodal.api.search_schemas import SearchBody
from multimodal.config import AppArgs
from tests.unit.benchmarks.test_made_up import encode


def questions(count: int) -> list[Question]:
    return Questions(encode, seed=3).draw(count, made_up.in_an_album)


class Echo(BaseHTTPRequestHandler):
    """Answers with the query as the id of the only hit; a query about owls breaks it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        answer = json.dumps({"results": [{"id": body["query"]}]}).encode()
        self.send_response(500 if " owl " in body["query"] else 200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@contextmanager
def echoing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("clients", [1, 3, 8])
def test_answers_come_in_the_order_of_the_questions(clients: int) -> None:
    asked = [one for one in questions(20) if " owl " not in one.text]
    expected = [[one.text] for one in asked]
    in_process = InProcess(lambda question: [question.text])
    assert [one["ids"] for one in in_process.ask(asked, clients)] == expected
    with echoing() as url, closing(Http(url, "/v1/search", hybrid_body, psutil.Process())) as http:
        assert [one["ids"] for one in http.ask(asked, clients)] == expected
        assert [one["ids"] for one in http.ask(asked[:2], clients)] == expected[:2]


def test_a_refusal_is_no_measurement() -> None:
    owl = next(one for one in questions(5000) if " owl " in one.text)
    with (
        echoing() as url,
        closing(Http(url, "/v1/search", hybrid_body, psutil.Process())) as http,
        pytest.raises(ExceptionGroup, check=lambda group: "answered 500" in str(group.exceptions[0])),
    ):
        http.ask([owl], 1)


def test_waiting_for_ones_turn_counts() -> None:
    """Two clients whose calls exclude each other: each waits for the other's."""
    lock, calls = threading.Lock(), threading.Event()

    def call(question: Question) -> list[str]:
        with lock:
            calls.wait(0.02)
        return []

    turn, answers = take_turn(InProcess(call), questions(8), clients=2)
    assert len(answers) == 8
    assert turn["p99_ms"] >= 20
    assert 0 < turn["per_s"] <= 50


def test_bodies_ask_the_server_what_the_sides_in_this_process_are_asked() -> None:
    (question,) = questions(1)
    for make_body in (hybrid_body, dense_body):
        asked = search_request(SearchBody.model_validate(make_body(question)), AppArgs(), now_s=0.0)
        assert asked.filter == question.filter
        assert [one.query for one in asked.queries] == [question.text]
        assert asked.dense_weight == 1
        assert asked.lexical_weight == (1 if make_body is hybrid_body else 0)
    assert EmbeddingsRequest.model_validate(embeddings_body(question)).input == question.text


def test_a_question_without_a_filter_has_none_in_its_body() -> None:
    (question,) = Questions(encode, seed=3).draw(1, made_up.anything)
    asked = search_request(SearchBody.model_validate(hybrid_body(question)), AppArgs(), now_s=0.0)
    assert asked.filter == question.filter
