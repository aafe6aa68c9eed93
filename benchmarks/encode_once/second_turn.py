"""`second-turn`: a second question about the same picture, against vLLM's own server with its caches on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypedDict, get_args

import psutil
import typer

from benchmarks import processes
from benchmarks.compare import SETTLE_S
from benchmarks.encode_once.media import FreshMedia, Medium
from benchmarks.encode_once.peer import Peer
from benchmarks.encode_once.sender import client_session
from benchmarks.encode_once.served import Served, ours_and_peer, settings
from benchmarks.findings import MIN_PAIRS, QUICK_PAIRS, Finding, console, in_order, medians, publish
from benchmarks.load import Answer, HttpAsker

PHOTOS: Mapping[str, tuple[int, int]] = {"small": (448, 448), "12 megapixels": (4000, 3000)}
FIRST, SECOND = "What is in the picture?", "Which colours are there?"
ANSWER_TOKENS = 16

SideName: TypeAlias = Literal["ours", "vllm"]
SIDES: tuple[SideName, ...] = get_args(SideName)


class Conversation(TypedDict):
    """Two turns of one side."""

    first_ttft_ms: float
    second_ttft_ms: float
    prompt_tokens: tuple[int, int]
    cached_tokens: tuple[int, int]
    """Of the prompts, found in the engine's prefix cache."""
    others: float
    """Cores that programs which take no part kept busy meanwhile."""


class Pair(TypedDict):
    """The same picture on both sides, one after the other."""

    ours: Conversation
    vllm: Conversation


class Measurement:
    """Conversations, one at a time, while the other side is idle."""

    def __init__(
        self, askers: Mapping[SideName, HttpAsker], server: Sequence[psutil.Process], peer: Peer
    ) -> None:
        self._askers = askers
        self._server = server
        self._peer = peer
        self._fresh = FreshMedia()

    async def pair(self, size: str, number: int) -> Pair:
        """About a new picture; ours begins in every other one."""
        photo = self._fresh.photo(*PHOTOS[size])
        found = {side: await self._talk(side, photo) for side in in_order(number, SIDES)}
        return Pair(ours=found["ours"], vllm=found["vllm"])

    async def _talk(self, side: SideName, photo: Medium) -> Conversation:
        sides = {"server": self._server, "peer": self._peer.processes(), "client": [psutil.Process()]}
        with self._peer.paused() if side == "ours" else nullcontext():
            watch = processes.Watch(sides)
            first, second = await self._turns(self._askers[side], photo)
            others = watch.cores()["others"]
            await asyncio.sleep(SETTLE_S)
        return Conversation(
            first_ttft_ms=ttft_ms(first),
            second_ttft_ms=ttft_ms(second),
            prompt_tokens=(first.prompt_tokens, second.prompt_tokens),
            cached_tokens=(first.cached_tokens, second.cached_tokens),
            others=others,
        )

    async def _turns(self, asker: HttpAsker, photo: Medium) -> tuple[Answer, Answer]:
        content = [photo.part(), {"type": "text", "text": FIRST}]
        messages: list[dict[str, object]] = [{"role": "user", "content": content}]
        first = await asker.chat(messages)
        # A random tower makes the model say anything, or nothing.
        messages.append({"role": "assistant", "content": first.text or "Nothing."})
        messages.append({"role": "user", "content": SECOND})
        return first, await asker.chat(messages)


def ttft_ms(answer: Answer) -> float:
    """Until its first token, be it one without text. Raises RuntimeError without any."""
    if answer.began_s is None:
        raise RuntimeError("An answer had no token.")
    return 1e3 * (answer.began_s - answer.sent_s)


async def measure(server: Served, peer: Peer, pairs: int, warm_up: bool) -> dict[str, list[Pair]]:
    """The sizes take turns."""
    found: dict[str, list[Pair]] = {size: [] for size in PHOTOS}
    async with client_session() as session:
        askers: dict[SideName, HttpAsker] = {
            "ours": HttpAsker(session, server.url, server.model, ANSWER_TOKENS),
            "vllm": HttpAsker(session, peer.url, server.model, ANSWER_TOKENS),
        }
        measurement = Measurement(askers, server.processes(), peer)
        for size in PHOTOS if warm_up else list(PHOTOS)[:1]:
            await measurement.pair(size, 0)
        for number in range(pairs):
            for size, before in found.items():
                before.append(await measurement.pair(size, number))
                times = [f"{side} {before[-1][side]['second_ttft_ms']:.0f} ms" for side in SIDES]
                console.print(f"  {size}, second turn: {', '.join(times)}")
    return found


def findings(found: Mapping[str, Sequence[Pair]]) -> list[Finding]:
    """Time to the first token."""
    turns: tuple[tuple[str, Literal["first_ttft_ms", "second_ttft_ms"]], ...] = (
        ("second", "second_ttft_ms"),
        ("first", "first_ttft_ms"),
    )
    return [
        medians(
            f"{size}: TTFT of the {turn} turn",
            "ours / vLLM",
            [pair["ours"][metric] for pair in pairs],
            [pair["vllm"][metric] for pair in pairs],
            "ms",
        )
        for turn, metric in turns
        for size, pairs in found.items()
    ]


def main(
    config: Annotated[Path, typer.Option(help="What is served, but for the generator.")] = Path(
        "serve_config.yaml"
    ),
    pairs: Annotated[int, typer.Option(min=MIN_PAIRS, help="Pictures of each size.")] = MIN_PAIRS,
    quick: Annotated[bool, typer.Option("--quick", help="One pair: does it run?")] = False,
) -> None:
    """Start our server and vLLM's own with one vision-language model, and talk to each about new pictures."""
    pairs = QUICK_PAIRS if quick else pairs
    with ours_and_peer(config) as (server, peer):
        found = asyncio.run(measure(server, peer, pairs, warm_up=not quick))
        details = {"pairs": found, "settings": settings(server.profile), "peer_idle_cores": peer.idle_cores}
    others = max(pair[side]["others"] for pairs_ in found.values() for pair in pairs_ for side in SIDES)
    publish("second-turn", findings(found), details, others)
