"""Starting and stopping the server on one machine: what `multimodal serve` and `make run` do."""
