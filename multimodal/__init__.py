"""Self-hosted multimodal assistant and search: the library, testable without Ray."""

__version__ = "0.1.0"
