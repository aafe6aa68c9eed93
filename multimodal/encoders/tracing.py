"""Which modules a tower calls, found without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import fx

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def called_modules(tower: nn.Module, is_leaf: Callable[[nn.Module], bool]) -> dict[fx.Node, nn.Module]:
    """By their places in the graph, in order: torch's own modules, and those that are leaves, which are not
    gone into. Empty where the way through the tower depends on its input."""

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return is_leaf(m) or super().is_leaf_module(m, module_qualified_name)

    try:
        nodes = Tracer().trace(tower).nodes
    except (fx.proxy.TraceError, RuntimeError, TypeError):
        return {}  # tracing says so with any of these
    return {node: tower.get_submodule(str(node.target)) for node in nodes if node.op == "call_module"}
