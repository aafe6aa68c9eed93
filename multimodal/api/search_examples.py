"""Examples of POST /v1/search, for the document."""

from __future__ import annotations

from multimodal.api.openapi import RED_PIXEL, Examples

SEARCH_EXAMPLES: Examples = {
    "words": {
        "query": {"type": "text", "content": "sunset over mountains"},
        "search_modalities": ["image", "video"],
        "top_k": 10,
        "filters": {
            "date": "last_30_days",
            "metadata": {"album": ["summer", "autumn"], "year": {"gte": 2024}},
        },
    },
    "a picture and words, and what hits should be unlike": {
        "query": [
            {"type": "image_url", "image_url": {"url": RED_PIXEL}},
            {"type": "text", "content": "a square", "weight": 0.5},
            {"type": "text", "content": "a circle", "weight": -0.3},
        ],
        "score_threshold": 0.2,
        "dedupe": True,
    },
    "names and numbers": {
        "query": "invoice 2024-117",
        "search_modalities": ["document"],
        "weights": {"dense": 0.5, "lexical": 2},
        "filters": {"date": {"after": "2024-01-01", "before": "2025-01-01T00:00:00Z"}},
    },
}
