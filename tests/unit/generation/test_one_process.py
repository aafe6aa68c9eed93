"""What is changed in PyTorch for an engine that is one process."""

from __future__ import annotations

import pytest
import torch.distributed as dist


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # vLLM's, when it is imported
def test_groups_are_one_and_are_left_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from multimodal.generation.one_process import share_one_group

    for name in ("new_group", "destroy_process_group"):
        monkeypatch.setattr(dist, name, getattr(dist, name))  # to have it back afterwards
    share_one_group()

    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
    group = dist.new_group([0], backend="gloo")
    assert group is dist.new_group([0]) is dist.group.WORLD
    for one in (group, group, None):
        dist.destroy_process_group(one)
    assert not dist.is_initialized()
