"""Uploaded files: kept once, made into segments in the background."""
