"""Many threads search, store and delete at once while graphs are built."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from multimodal.config import RetrieverArgs
from multimodal.retrieval.edge import EdgeStore
from multimodal.retrieval.engine import SearchEngine
from multimodal.retrieval.types import Search, SegmentFilter, SpaceQuery, VectorName
from tests.unit.retrieval.segments import POOL, SIZES, segment

ARGS = RetrieverArgs(index_from=50, optimize_s=0.01, lock_timeout_s=10)
FILES = 60


def test_nothing_is_lost_and_every_search_is_answered(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path, ARGS, SIZES)
    engine = SearchEngine(store, ARGS)
    store.upsert([segment(n, file_id="file-first", words=POOL[n % 7], text="fox") for n in range(50)])

    def write(number: int) -> None:
        segments = [
            segment(1000 * number + n, file_id=f"file-{number}", words=POOL[n % 7]) for n in range(20)
        ]
        store.upsert(segments)
        if number % 3 == 0:
            store.delete_files("ann", [f"file-{number}"])

    def search(number: int) -> None:
        query = SpaceQuery(vector=POOL[number % 7], names=tuple(VectorName))
        found = engine.search(Search(tenant="ann", spaces=(query,), words="fox"))
        assert len(found.hits) == 10
        assert all(hit.segment.tenant == "ann" for hit in found.hits)

    with ThreadPoolExecutor(4) as threads:
        work = [
            threads.submit(task, number) for number in range(1, FILES) for task in (write, search, search)
        ]
        build = threads.submit(store.optimize, force=True)
        for one in work:
            one.result()
        build.result()
    kept = [number for number in range(1, FILES) if number % 3]
    assert store.files() == {"ann": sorted(["file-first", *(f"file-{number}" for number in kept)])}
    assert store.count("ann", SegmentFilter()) == 50 + 20 * len(kept)
    store.check_health()
    store.close()
