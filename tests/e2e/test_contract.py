"""The OpenAPI document is true: its examples work, and what its schemas allow and forbid is so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import httpx
import pytest
import schemathesis
from hypothesis import settings
from schemathesis import Case
from schemathesis.checks import negative_data_rejection
from schemathesis.generation.meta import TestPhase

from multimodal.api import create_app
from multimodal.api.service import Service
from multimodal.config import AppArgs
from multimodal.serving.background import RunningServer
from tests.e2e import contract

if TYPE_CHECKING:
    from schemathesis.core.jsonschema.types import JsonValue
    from schemathesis.specs.openapi.schemas import OpenApiOperation

FORM = "multipart/form-data"
TIMEOUT_S = 60


def _no_service() -> Service:
    raise AssertionError("only the document is asked for")


DOCUMENT = create_app(_no_service, AppArgs()).openapi()

SCHEMA = schemathesis.openapi.from_dict(
    DOCUMENT,
    config=schemathesis.Config.from_dict(
        {
            "seed": 1,
            # The same requests in every run: nothing is taken from answers or from former runs.
            "cache": {"enabled": False},
            "max-stream-events": 1000,
            "phases": {
                "examples": {"enabled": False},  # they have a test of their own
                "fuzzing": {"extra-data-sources": {"responses": False}, "error-feedback": {"enabled": False}},
            },
        }
    ),
)


def test_the_server_has_the_document_that_is_tested_here(http: httpx.Client) -> None:
    assert http.get("/openapi.json").json() == DOCUMENT


def examples() -> Iterator[object]:
    """Path, media type and body of every example."""
    for path, methods in cast(dict[str, dict[str, contract.Operation]], DOCUMENT["paths"]).items():
        for operation in methods.values():
            for media_type, content in operation.get("requestBody", {"content": {}})["content"].items():
                for name, example in content["examples"].items():
                    yield pytest.param(path, media_type, example["value"], id=f"{path} {media_type} {name}")


@pytest.mark.parametrize(("path", "media_type", "body"), list(examples()))
def test_the_example_works(server: RunningServer, path: str, media_type: str, body: contract.Body) -> None:
    case = SCHEMA[path]["POST"].Case(body=cast("JsonValue", body), media_type=media_type)
    response = case.call_and_validate(base_url=server.base_url, timeout=TIMEOUT_S)
    assert response.status_code == 200, response.text
    if body.get("stream"):
        assert response.text.endswith("data: [DONE]\n\n")


@SCHEMA.parametrize()
@settings(derandomize=True, database=None, max_examples=15, deadline=None)
def test_requests_are_answered_as_the_document_says(
    case: Case[OpenApiOperation], server: RunningServer
) -> None:
    meaning = case.meta
    is_form = case.media_type == FORM
    if meaning is not None and isinstance(case.body, dict):
        body = cast(contract.Body, case.body)
        if meaning.generation.mode.is_positive:
            contract.complete(case.path, body)
            if meaning.phase.name is TestPhase.COVERAGE:
                contract.ask_nothing(body)
        elif is_form:
            contract.shorten(body)
    # A form holds text, and an empty field counts as left out: hardly any value is of a wrong type there.
    lenient = [negative_data_rejection] if is_form else []
    case.call_and_validate(base_url=server.base_url, timeout=TIMEOUT_S, excluded_checks=lenient)
