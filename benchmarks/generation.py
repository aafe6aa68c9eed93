"""Moved to `benchmarks.generator_tax`."""

from __future__ import annotations

from benchmarks.generator_tax.counts import parse_counts as parse_counts
