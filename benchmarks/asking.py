"""Those that answer a question, and a turn of one of them while the others are idle."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypedDict, cast

import aiohttp
import psutil
import qdrant_edge as qdrant

from benchmarks import processes
from benchmarks.common import percentile
from benchmarks.filled import NEVER_S
from benchmarks.made_up import LARGE_TENANT, Question
from multimodal.config import AppArgs
from multimodal.retrieval import lexical, points
from multimodal.retrieval.edge import EdgeStore
from multimodal.retrieval.edge_points import EdgePoints
from multimodal.retrieval.engine import SearchEngine
from multimodal.retrieval.filters import AnyOf, where
from multimodal.retrieval.mixture import Direction, spaces_of
from multimodal.retrieval.points import LEXICAL
from multimodal.retrieval.types import Search, SegmentFilter, SpaceQuery, VectorName

TOP = 10
BOTH = (VectorName.PICTURE, VectorName.WORDS)
"""What a text is compared with, where pictures and texts share a space."""


class Answer(TypedDict):
    """One question's."""

    ms: float
    ids: list[str]
    """Of segments, the best first."""


class Turn(TypedDict):
    """One side, some questions, some clients that each wait for an answer before they ask again."""

    p50_ms: float
    p99_ms: float
    per_s: float
    """Answers of all clients."""
    cpu_ms: float
    """Of all processes of the side, for each answer; the server's idle work included."""
    others: float
    """Cores that programs which take no part kept busy."""


class Side(Protocol):
    """Who is asked."""

    def ask(self, questions: Sequence[Question], clients: int) -> list[Answer]:
        """Answers in the order of the questions."""
        ...

    def processes(self) -> Sequence[psutil.Process]:
        """Who works for it."""
        ...


def take_turn(side: Side, questions: Sequence[Question], clients: int) -> tuple[Turn, list[Answer]]:
    """Ask it all of them."""
    working = side.processes()
    everything, own = processes.CpuMeter(None), processes.CpuMeter(working)
    client = processes.CpuMeter([] if psutil.Process() in working else [psutil.Process()])
    started_s = time.perf_counter()
    answers = side.ask(questions, clients)
    duration_s = time.perf_counter() - started_s
    cores, others = own.cores(), everything.cores() - own.cores() - client.cores()
    times_ms = [answer["ms"] for answer in answers]
    turn = Turn(
        p50_ms=percentile(times_ms, 50),
        p99_ms=percentile(times_ms, 99),
        per_s=len(answers) / duration_s,
        cpu_ms=1e3 * cores * duration_s / len(answers),
        others=max(0.0, others),
    )
    return turn, answers


# --- in this process ----------------------------------------------------------------------------


class InProcess:
    """A function that is called by one thread for each client.

    An answer takes from the client's answer before to this one. The engine's calls hold the interpreter lock:
    a clock that started with the call would not see how long the client had waited for its turn.
    """

    def __init__(self, call: Callable[[Question], list[str]]) -> None:
        self._call = call

    def ask(self, questions: Sequence[Question], clients: int) -> list[Answer]:
        """See Side. Client i of n has questions i, i + n, i + 2n and so on."""
        if clients == 1:
            return self._one_by_one(questions)
        parts = [questions[client::clients] for client in range(clients)]
        with ThreadPoolExecutor(clients) as pool:
            answered = list(pool.map(self._one_by_one, parts))
        return [answered[index % clients][index // clients] for index in range(len(questions))]

    def processes(self) -> Sequence[psutil.Process]:
        """See Side."""
        return [psutil.Process()]

    def _one_by_one(self, questions: Sequence[Question]) -> list[Answer]:
        answers, before_s = [], time.perf_counter()
        for question in questions:
            ids = self._call(question)
            now_s = time.perf_counter()
            answers.append(Answer(ms=1e3 * (now_s - before_s), ids=ids))
            before_s = now_s
        return answers


class TwinStore(EdgeStore):
    """The product's store, and the engine under it."""

    def points(self) -> EdgePoints:
        """What it asks."""
        with self._reading() as points:
            return points


class Twin:
    """One engine with the points, and two ways to ask it: by itself, and through SearchEngine."""

    def __init__(self, folder: Path, args: AppArgs, sizes: Mapping[VectorName, int]) -> None:
        # Nothing is written, so nothing need be done in the background.
        self._args = args.retriever.model_copy(update={"optimize_s": NEVER_S})
        self._image = args.image
        self.store = TwinStore(folder, self._args, sizes)
        self._engine = SearchEngine(self.store, self._args)
        self._points = self.store.points()
        # The very engine under the store: another one would have memory of its own.
        self._shard = self._points._shard

    def bare(self, question: Question) -> list[str]:
        """One query of Qdrant's engine: the nearest by one vector, with their payloads."""
        request = qdrant.QueryRequest(
            limit=TOP,
            query=qdrant.Query.Nearest(question.vector.tolist(), using=VectorName.WORDS),
            filter=bare_filter(question.filter),
            with_payload=True,
            params=qdrant.SearchParams(hnsw_ef=self._args.hnsw_ef),
        )
        return self._bare(request)

    def dense(self, question: Question) -> list[str]:
        """The same question to SearchEngine."""
        return self._search(question, (SpaceQuery(vector=question.vector, names=(VectorName.WORDS,)),), "")

    def bare_hybrid(self, question: Question) -> list[str]:
        """One query of Qdrant's engine that looks as deep by both vectors and by the words, and fuses them
        itself. All words weigh the same: it need not count how frequent they are, as the product does."""
        which, depth = bare_filter(question.filter), self._args.candidates
        near = [qdrant.Query.Nearest(question.vector.tolist(), using=name) for name in BOTH]
        terms = sorted(lexical.query_terms(question.text))
        words = qdrant.Query.Nearest(qdrant.SparseVector(terms, [1.0] * len(terms)), using=LEXICAL)
        request = qdrant.QueryRequest(
            limit=TOP,
            prefetches=[
                qdrant.Prefetch(limit=depth, query=query, filter=which, params=params)
                for query, params in [
                    *((one, qdrant.SearchParams(hnsw_ef=self._args.hnsw_ef)) for one in near),
                    (words, None),
                ]
            ],
            # By the stubs, its kinds are no Fusion.
            query=cast("qdrant.Fusion", qdrant.Fusion.Rrf(k=self._args.rrf_k)),
            with_payload=True,
        )
        return self._bare(request)

    def hybrid(self, question: Question) -> list[str]:
        """SearchEngine as POST /v1/search uses it: both vectors and the words."""
        asked = Direction(vectors={VectorName.WORDS: question.vector}, param="query")
        spaces = spaces_of([asked], self._image, 1.0, "query", self._args.cross_modal_gain)
        return self._search(question, spaces, question.text)

    def exact(self, name: VectorName, question: Question) -> list[str]:
        """Every segment that passes is compared."""
        which, vector = where(LARGE_TENANT, question.filter), question.vector.tolist()
        found = self._points.nearest(name, vector, which, TOP, exact=True, at_least=None)
        return [points.segment_id(LARGE_TENANT, one) for one, _ in found]

    def close(self) -> None:
        """Let go of the folder."""
        self.store.close()

    def _bare(self, request: qdrant.QueryRequest) -> list[str]:
        return [points.segment_id(LARGE_TENANT, str(one.id)) for one in self._shard.query(request)]

    def _search(self, question: Question, spaces: tuple[SpaceQuery, ...], words: str) -> list[str]:
        search = Search(
            tenant=LARGE_TENANT,
            spaces=spaces,
            words=words,
            filter=question.filter,
            limit=TOP,
        )
        return [hit.segment.id for hit in self._engine.search(search).hits]


def bare_filter(wanted: SegmentFilter) -> qdrant.Filter:
    """Of the tenant and equal values, which is all that questions have."""
    conditions = [one for one in where(LARGE_TENANT, wanted).must if isinstance(one, AnyOf)]
    return qdrant.Filter(
        must=[
            qdrant.FieldCondition(one.key, match=qdrant.MatchAny(cast("list[str]", list(one.values))))
            for one in conditions
        ]
    )


# --- over HTTP -----------------------------------------------------------------------------------


class Http:
    """A server, asked by as many connections as there are clients."""

    def __init__(
        self, url: str, path: str, make_body: Callable[[Question], object], server: psutil.Process
    ) -> None:
        self._url = f"{url}{path}"
        self._make_body = make_body
        self._server = server
        self._runner = asyncio.Runner()
        self._session = self._runner.run(_session())

    def ask(self, questions: Sequence[Question], clients: int) -> list[Answer]:
        """See Side. Raises RuntimeError for anything but an answer."""
        return self._runner.run(self._ask(questions, clients))

    def processes(self) -> Sequence[psutil.Process]:
        """See Side."""
        return processes.tree(self._server)

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._session.close())
        self._runner.close()

    async def _ask(self, questions: Sequence[Question], clients: int) -> list[Answer]:
        answers: dict[int, Answer] = {}
        waiting = iter(enumerate(questions))

        async def work() -> None:
            for index, question in waiting:
                answers[index] = await self._timed(question)

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(work())
        return [answers[index] for index in range(len(questions))]

    async def _timed(self, question: Question) -> Answer:
        body = self._make_body(question)
        started_s = time.perf_counter()
        async with self._session.post(self._url, json=body) as response:
            text = await response.read()
            ms = 1e3 * (time.perf_counter() - started_s)
            if response.status != 200:
                raise RuntimeError(f"The server answered {response.status}: {text[:500]!r}")
        found = cast("_Found", json.loads(text))
        return Answer(ms=ms, ids=[one["id"] for one in found.get("results", ())])


class _Result(TypedDict):
    id: str


class _Found(TypedDict, total=False):
    results: list[_Result]


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120))


def hybrid_body(question: Question) -> dict[str, object]:
    """POST /v1/search, with nothing but the question and its filter."""
    wanted = question.filter
    filters = {"kinds": [str(kind) for kind in wanted.kinds]} if wanted.kinds else {}
    metadata = {key: list(values) for key, values in wanted.equal}
    return {"query": question.text, "filters": {**filters, **({"metadata": metadata} if metadata else {})}}


def dense_body(question: Question) -> dict[str, object]:
    """The same without lexical search."""
    return {**hybrid_body(question), "weights": {"lexical": 0}}


def embeddings_body(question: Question) -> dict[str, object]:
    """POST /v1/embeddings for the same words."""
    return {"model": "text", "input": question.text, "encoding_format": "base64"}
