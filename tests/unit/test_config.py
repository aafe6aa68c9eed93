from __future__ import annotations

import pytest
from pydantic import ValidationError

from multimodal.config import AppArgs


@pytest.mark.parametrize("other", [{"image": {"model": None}}, {"generator": {"pixels": True}}])
def test_a_vision_tower_that_has_nothing_to_do_is_refused(other: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="Set vision to null"):
        AppArgs.model_validate(other)
    assert AppArgs.model_validate({**other, "vision": None}).vision is None
