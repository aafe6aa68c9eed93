"""What Ray Serve says of the graph while it starts, from the HTTP API behind its dashboard."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import BaseModel, ValidationError

_TIMEOUT_S = 2.0
_FAILED = "DEPLOY_FAILED"
_HEALTHY = "HEALTHY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the graph is."""

    ready: tuple[str, ...] = ()
    """Deployments that serve."""
    waiting: tuple[str, ...] = ()
    """Deployments that do not serve yet."""
    failure: str | None = None
    """Why Serve gave up, in one line."""


class _Deployment(BaseModel):
    status: str
    message: str = ""


class _Application(BaseModel):
    status: str
    message: str = ""
    deployments: dict[str, _Deployment] = {}


class _Details(BaseModel):
    applications: dict[str, _Application] = {}


class RayDashboard:
    """A client of the dashboard that runs on this machine."""

    def __init__(self, port: int, env: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._env = env

    def progress(self) -> Progress | None:
        """How far the graph is; None while Ray itself cannot say."""
        headers = {"Authorization": f"Bearer {read_token(self._env)}"}
        try:
            # Plain HTTP: without `verify`, every call would load all certificates of this machine.
            answer = httpx.get(
                f"{self.url}/api/serve/applications/",
                headers=headers,
                timeout=_TIMEOUT_S,
                trust_env=False,
                verify=False,
            )
            details = _Details.model_validate_json(answer.raise_for_status().content)
        except (httpx.HTTPError, ValidationError):
            return None
        return _summary(details)


def read_token(env: Mapping[str, str]) -> str:
    """Ray's token, from where Ray itself looks, in its order; empty where there is none."""
    if token := env.get("RAY_AUTH_TOKEN"):
        return token.strip()
    path = env.get("RAY_AUTH_TOKEN_PATH") or os.path.join(
        env.get("HOME") or Path.home(), ".ray", "auth_token"
    )
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _summary(details: _Details) -> Progress:
    applications = details.applications.values()
    states = {name: one for app in applications for name, one in app.deployments.items()}
    failures = [_failure(app) for app in applications if app.status == _FAILED]
    return Progress(
        ready=tuple(name for name, one in states.items() if one.status == _HEALTHY),
        waiting=tuple(name for name, one in states.items() if one.status != _HEALTHY),
        failure=failures[0] if failures else None,
    )


def _failure(app: _Application) -> str:
    """One line: messages are tracebacks, whose last line says what happened."""
    broken = {name: one.message for name, one in app.deployments.items() if one.status != _HEALTHY}
    causes = [f"{name}: {_last_line(message)}" for name, message in broken.items() if message.strip()]
    return "; ".join(causes) or _last_line(app.message)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason was given")
