from __future__ import annotations

import pytest
import typer
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from benchmarks.generation import check_ready, parse_counts


def test_numbers_of_streams() -> None:
    assert parse_counts("1, 16") == (1, 16)


@pytest.mark.parametrize("text", ["", "1,", "0", "-1", "many"])
def test_other_numbers_of_streams_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_counts(text)


async def test_a_server_that_is_not_ready_is_not_measured() -> None:
    status = 503

    async def readyz(request: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/readyz", readyz)
    async with TestServer(app) as server, ClientSession() as session:
        url = str(server.make_url(""))
        with pytest.raises(RuntimeError, match="make run"):
            await check_ready(session, url)
        status = 200
        await check_ready(session, url)
    async with ClientSession() as session:
        with pytest.raises(RuntimeError, match="make run"):
            await check_ready(session, url)
