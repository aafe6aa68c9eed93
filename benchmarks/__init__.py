"""Measurements of a real server. Nothing here is asserted in tests; see README.md."""
