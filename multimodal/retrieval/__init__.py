"""Segments of files and how they are found: one store protocol, Qdrant behind it, fusion above it."""
