"""An app over the fake service, with clocks that stand still."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import httpx2
import openai
import pytest
from fastapi import FastAPI

from multimodal.api import create_app
from multimodal.config import AppArgs
from tests.unit.api.fakes import NOW_S, FakeService


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def args() -> AppArgs:
    return AppArgs()


@pytest.fixture
def app(service: FakeService, args: AppArgs) -> FastAPI:
    return create_app(lambda: service, args, clock=lambda: NOW_S, timer=lambda: 0.0)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        yield client


def official_client(app: FastAPI, key: str = "anything", host: str = "localhost:8000") -> openai.AsyncOpenAI:
    """OpenAI's own client, connected to the app."""
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app))
    return openai.AsyncOpenAI(api_key=key, base_url=f"http://{host}/v1", http_client=http, max_retries=0)


@pytest.fixture
async def official(app: FastAPI) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's own client."""
    async with official_client(app) as client:
        yield client
