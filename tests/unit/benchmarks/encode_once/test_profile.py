from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks.encode_once.profile import NO_CACHE, derived, merged
from multimodal import serve_config
from multimodal.errors import ConfigError

CONFIG = Path("serve_config.yaml")


def test_changes_are_merged_and_everything_else_stays() -> None:
    base = serve_config.read(CONFIG)
    with derived(CONFIG, {"generator": {"served_name": "other"}, "cache": {"memory_bytes": 5}}) as profile:
        found = serve_config.read(profile.path)
        assert found.args == profile.args
        document = yaml.safe_load(profile.path.read_bytes())
    assert base.args is not None
    assert profile.args.generator.served_name == "other"
    assert profile.args.generator.model == base.args.generator.model
    assert profile.args.cache.memory_bytes == 5
    (before,), (after,) = yaml.safe_load(CONFIG.read_bytes())["applications"], document["applications"]
    assert {**after, "args": None} == {**before, "args": None}
    assert not profile.path.exists()


def test_the_configuration_that_was_read_is_not_changed() -> None:
    known = {"generator": {"model": "a", "dtype": "b"}}
    assert merged(known, {"generator": {"model": "c"}, "vision": None}) == {
        "generator": {"model": "c", "dtype": "b"},
        "vision": None,
    }
    assert known == {"generator": {"model": "a", "dtype": "b"}}


def test_a_change_that_does_not_exist_is_refused_before_anything_is_started() -> None:
    with pytest.raises(ConfigError, match="cache"), derived(CONFIG, {"cache": {"memory": 1}}):
        pass


def test_without_a_cache_nothing_is_kept_anywhere() -> None:
    with derived(CONFIG, NO_CACHE) as profile:
        cache = profile.args.cache
    assert (cache.memory_bytes, cache.stored_bytes, cache.redis_url) == (0, 0, None)
