"""The other side of the API: what the `multimodal` command asks of a running server."""
