"""The Serve configuration file: reading it, and deriving the one that is run.

`serve run` takes host and port from the file alone, so another address means another file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from multimodal.config import AppArgs
from multimodal.errors import ConfigError

GRAPH = "deployments.app:app"
"""`import_path` of our graph: its `args` are checked before anything is started."""


class _HttpOptions(BaseModel):
    host: str = "127.0.0.1"
    """Serve's own default is every interface; ours is not."""
    port: int = Field(8000, gt=0, le=65535)


class _Application(BaseModel):
    import_path: str
    args: dict[str, object] = Field(default_factory=dict)


class _Document(BaseModel):
    """The parts of Serve's schema that matter here; Serve checks the rest."""

    model_config = ConfigDict(extra="allow")

    http_options: _HttpOptions = _HttpOptions()
    applications: list[_Application] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """A configuration that was read and found sound."""

    host: str
    port: int
    args: AppArgs | None
    """Arguments of our graph; None where the file names another application."""
    document: Mapping[str, object] = field(repr=False)
    """All of the file."""

    def at(self, host: str | None, port: int | None) -> ServeConfig:
        """The same with another address; None keeps what it has."""
        return replace(
            self, host=self.host if host is None else host, port=self.port if port is None else port
        )

    def write(self, path: Path) -> None:
        """Write what `serve run` is to read. Readable by its owner only: it may hold hashes of keys."""
        options = self.document.get("http_options")
        known = options if isinstance(options, dict) else {}
        document = {**self.document, "http_options": {**known, "host": self.host, "port": self.port}}
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def read(path: Path) -> ServeConfig:
    """Read a Serve configuration. Raises ConfigError with one sentence for whatever is wrong in it."""
    try:
        document = yaml.safe_load(path.read_bytes())
        found = _Document.model_validate(document)
    except FileNotFoundError as error:
        raise ConfigError(f"There is no {path}. Name a Serve configuration with --config.") from error
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {_one_line(error)}.") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is not a Serve configuration: {describe(error)}.") from error
    return ServeConfig(
        host=found.http_options.host,
        port=found.http_options.port,
        args=_graph_args(path, found.applications),
        document=document,
    )


def _graph_args(path: Path, applications: list[_Application]) -> AppArgs | None:
    ours = next((application for application in applications if application.import_path == GRAPH), None)
    if ours is None:
        return None
    try:
        return AppArgs.model_validate(ours.args)
    except ValidationError as error:
        raise ConfigError(f"The `args` in {path} are wrong: {describe(error)}.") from error


def describe(error: ValidationError) -> str:
    """The first problem that pydantic found, as `where: what`."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"])
    what = first["msg"][:1].lower() + first["msg"][1:]
    return f"{where}: {what}" if where else what


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
