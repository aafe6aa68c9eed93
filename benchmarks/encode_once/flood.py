"""`flood`: what text chats notice of clients that flood the server with new pictures; and at vLLM's own."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import psutil
import typer

from benchmarks import processes
from benchmarks.compare import SETTLE_S
from benchmarks.encode_once import chats
from benchmarks.encode_once.chats import Turn
from benchmarks.encode_once.flooding import Flood, Flooder, flooder
from benchmarks.encode_once.peer import Peer
from benchmarks.encode_once.sender import client_session
from benchmarks.encode_once.served import Served, ours_and_peer, settings
from benchmarks.findings import (
    MIN_PAIRS,
    QUICK_PAIRS,
    Finding,
    Target,
    console,
    in_order,
    medians,
    percentiles,
    publish,
)
from benchmarks.load import HttpAsker, PromptSource

TARGET = Target(at_most=1.25)
ANSWER_TOKENS = 16
PROMPT_WORDS = 16
RAMP_S = 2.0
"""Between the first pictures and the first text chat."""
TurnName: TypeAlias = Literal["ours quiet", "ours flood", "vLLM quiet", "vLLM flood"]
TURNS: tuple[TurnName, ...] = ("ours quiet", "ours flood", "vLLM quiet", "vLLM flood")
FLOODS: tuple[TurnName, TurnName] = ("ours flood", "vLLM flood")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is run."""

    pairs: int
    seconds: float
    """Of a turn: nobody asks later than that."""
    streams: int
    """Text chats at the same time."""
    clients: int
    """Of the flood."""
    side_px: int
    pictures: int
    seed: int


class Measurement:
    """Turns of either server, while the other one is idle."""

    def __init__(
        self, server: Served, peer: Peer, flooding: Flooder, askers: Mapping[str, HttpAsker], options: Options
    ) -> None:
        self._server = server
        self._peer = peer
        self._flooder = flooding
        self._askers = askers
        self._options = options
        self._prompts = PromptSource(options.seed, PROMPT_WORDS)

    async def turn(self, name: TurnName, seconds: float) -> Turn:
        """One of them."""
        side, _, kind = name.partition(" ")
        with self._peer.paused() if side == "ours" else nullcontext():
            if kind == "quiet":
                await asyncio.sleep(SETTLE_S)
                return await self._talk(self._askers[side], seconds)
            url = self._server.url if side == "ours" else self._peer.url
            return await self._flooded(url, self._askers[side], seconds)

    async def _flooded(self, url: str, asker: HttpAsker, seconds: float) -> Turn:
        options = self._options
        flood = Flood(
            url=url,
            model=self._server.model,
            clients=options.clients,
            side_px=options.side_px,
            pictures=options.pictures,
        )
        await asyncio.to_thread(self._flooder.prepare, flood)
        await asyncio.sleep(SETTLE_S)
        self._flooder.start()
        try:
            await asyncio.sleep(RAMP_S)
            turn = await self._talk(asker, seconds)
        finally:
            flooded = await asyncio.to_thread(self._flooder.stop)
        turn["flood"] = flooded
        return turn

    async def _talk(self, asker: HttpAsker, seconds: float) -> Turn:
        watch = processes.Watch(
            {
                "ours": self._server.processes(),
                "vLLM": self._peer.processes(),
                "clients": [psutil.Process(), self._flooder.process],
            }
        )
        started_s = time.perf_counter()
        found = await self._until(asker, started_s + seconds)
        return chats.turn_of(found, time.perf_counter() - started_s, watch.cores())

    async def _until(self, asker: HttpAsker, end_s: float) -> list[chats.Chat]:
        found: list[chats.Chat] = []

        async def stream() -> None:
            while time.perf_counter() < end_s:
                ((prompt,),) = self._prompts.streams(1, 1)
                found.append(await chats.chat(asker, prompt, end_s + chats.GRACE_S))

        await asyncio.gather(*(stream() for _ in range(self._options.streams)))
        return found


async def measure(
    server: Served, peer: Peer, flooding: Flooder, options: Options
) -> dict[TurnName, list[Turn]]:
    """Rounds of all turns, after a short one that warms up."""
    found: dict[TurnName, list[Turn]] = {name: [] for name in TURNS}
    async with client_session() as session:
        askers = {
            "ours": HttpAsker(session, server.url, server.model, ANSWER_TOKENS),
            "vLLM": HttpAsker(session, peer.url, server.model, ANSWER_TOKENS),
        }
        measurement = Measurement(server, peer, flooding, askers, options)
        for name in FLOODS:
            await measurement.turn(name, 0.5)
        for number in range(options.pairs):
            for name in in_order(number, TURNS):
                turn = await measurement.turn(name, options.seconds)
                found[name].append(turn)
                console.print(
                    f"  {name}: {len(turn['ttft_ms'])} chats, {turn['cut']} of them cut off, "
                    f"{turn['pieces_per_s']:.1f} pieces of text/s"
                )
    return found


def shares_cores_between_sessions() -> bool:
    """Then the kernel may hold up this process itself, beside work at idle priority: tails are too long."""
    setting = Path("/proc/sys/kernel/sched_autogroup_enabled")
    return setting.exists() and setting.read_text(encoding="ascii").strip() == "1"


def findings(found: Mapping[TurnName, Sequence[Turn]]) -> list[Finding]:
    """Tails of text chats, and how many pictures were answered about meanwhile."""
    compared: tuple[tuple[TurnName, TurnName, Target | None], ...] = (
        ("ours flood", "ours quiet", TARGET),
        ("ours flood", "vLLM flood", None),
        ("vLLM flood", "vLLM quiet", None),
    )
    metrics: tuple[tuple[str, Literal["ttft_ms", "itl_ms"]], ...] = (
        ("TTFT", "ttft_ms"),
        ("inter-token latency", "itl_ms"),
    )
    tails = [
        percentiles(
            percent,
            f"{title}, p{percent}",
            f"{first} / {second}",
            [turn[metric] or [chats.LONGEST_MS] for turn in found[first]],
            [turn[metric] or [chats.LONGEST_MS] for turn in found[second]],
            "ms",
            target if percent == 99 else None,
        )
        for title, metric in metrics
        for first, second, target in compared
        for percent in (99, 50)
    ]
    pictures = [[turn["flood"]["per_s"] for turn in found[name] if turn["flood"]] for name in FLOODS]
    return [*tails, medians("pictures of the flood", " / ".join(FLOODS), pictures[0], pictures[1], "/s")]


def main(
    config: Annotated[Path, typer.Option(help="What is served, but for the generator.")] = Path(
        "serve_config.yaml"
    ),
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Rounds of all four turns.")] = MIN_PAIRS,
    seconds: Annotated[float, typer.Option(min=0.5, help="Of a turn.")] = 5.0,
    streams: Annotated[int, typer.Option(min=1, help="Text chats at the same time.")] = 4,
    clients: Annotated[int, typer.Option(min=1, help="Of the flood.")] = 8,
    side_px: Annotated[int, typer.Option(min=28, help="Sides of the flood's pictures.")] = 224,
    pictures: Annotated[int, typer.Option(min=1, help="Of a flood, made beforehand.")] = 100,
    quick: Annotated[bool, typer.Option("--quick", help="One short round: does it run?")] = False,
) -> None:
    """Start our server and vLLM's own with one vision-language model; chat in text with each, alone and while
    other clients ask about new pictures as fast as they can."""
    options = Options(
        pairs=QUICK_PAIRS if quick else pairs,
        seconds=min(2.0, seconds) if quick else seconds,
        streams=streams,
        clients=clients,
        side_px=side_px,
        pictures=pictures,
        seed=secrets.randbits(32),
    )
    with ours_and_peer(config) as (server, peer), flooder() as flooding:
        found = asyncio.run(measure(server, peer, flooding, options))
        known = {
            "settings": settings(server.profile),
            "peer_idle_cores": peer.idle_cores,
            "shares_cores_between_sessions": shares_cores_between_sessions(),
        }
    others = max(turn["cores"]["others"] for side in found.values() for turn in side)
    publish("flood", findings(found), {"options": asdict(options), "turns": found, **known}, others)
