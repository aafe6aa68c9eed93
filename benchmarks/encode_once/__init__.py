"""Measurements of "encode once": what is known of a medium already is not worked out again."""
