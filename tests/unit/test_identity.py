"""Keys tell apart whatever is made in another way, of other bytes or for another tenant, and nothing else."""

from __future__ import annotations

import json
import multiprocessing
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.errors import ConfigError
from multimodal.identity import (
    SECRET_BYTES,
    SECRET_ENV,
    SECRET_FILE,
    Feature,
    FeatureKey,
    Identities,
    Recipe,
    segment_id,
    server_secret,
    sha256_of,
)
from multimodal.types import MediaKind

SECRET = b"0123456789abcdef0123456789abcdef"
CONTENT = sha256_of(b"a picture")
RECIPE: Recipe = {"decoded": {"side_px": 2048, "sampling": None}, "image": {"model": "a", "exact": True}}

PARAMETERS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
RECIPES = st.recursive(
    st.dictionaries(st.text(max_size=4), PARAMETERS, max_size=4),
    lambda inner: st.dictionaries(st.text(max_size=4), st.one_of(PARAMETERS, inner), max_size=4),
    max_leaves=8,
)


def key(
    *,
    secret: bytes = SECRET,
    tenant: str = "ann",
    sha256: str = CONTENT,
    feature: Feature = Feature.IMAGE,
    recipe: Recipe = RECIPE,
) -> FeatureKey:
    return Identities(secret).content(tenant, sha256, MediaKind.IMAGE).key(feature, recipe)


@pytest.mark.parametrize(
    "other",
    [
        {"secret": b"another secret of the same server"},
        {"tenant": "bob"},
        {"tenant": "ann "},
        {"tenant": ""},
        {"sha256": sha256_of(b"another picture")},
        {"feature": Feature.OCR},
        {"recipe": {}},
        {"recipe": {**RECIPE, "more": None}},
        {"recipe": {"decoded": {"side_px": 1024, "sampling": None}, "image": RECIPE["image"]}},
        {"recipe": {"decoded": {"side_px": "2048", "sampling": None}, "image": RECIPE["image"]}},
        {"recipe": {"decoded": {"side_px": 2048, "sampling": ""}, "image": RECIPE["image"]}},
        {"recipe": {"decoded": {"side_px": 2048, "sampling": "null"}, "image": RECIPE["image"]}},
        {"recipe": {"decoded": {"side_px": 2048}, "image": RECIPE["image"]}},
        {"recipe": {"decoded": RECIPE["decoded"], "image": {"model": "a", "exact": 1}}},
        {"recipe": {"decoded": RECIPE["image"], "image": RECIPE["decoded"]}},
        {"recipe": {"decoded": RECIPE["decoded"], "image": {"inner": RECIPE["image"]}}},
        {"recipe": {"side_px": 2048, "sampling": None, "model": "a", "exact": True}},
        {"recipe": {"decoded": json.dumps(RECIPE["decoded"]), "image": RECIPE["image"]}},
    ],
)
def test_a_key_is_another_for(other: dict[str, object]) -> None:
    assert key(**other).digest != key().digest  # type: ignore[arg-type]


def test_the_order_of_a_recipe_says_nothing() -> None:
    turned: Recipe = {
        "image": {"exact": True, "model": "a"},
        "decoded": {"sampling": None, "side_px": 2048},
    }
    assert key(recipe=turned) == key()


def _typed(recipe: Recipe) -> str:
    """As Python writes it, sorted: tells 1 from 1.0 and from True."""
    return repr(
        sorted((name, _typed(one) if isinstance(one, dict) else repr(one)) for name, one in recipe.items())
    )


@given(RECIPES, RECIPES)
def test_two_recipes_are_one_key_only_where_they_are_the_same(one: Recipe, other: Recipe) -> None:
    assert (key(recipe=one) == key(recipe=other)) == (_typed(one) == _typed(other))


@given(RECIPES, st.text(max_size=4), PARAMETERS)
def test_a_recipe_with_one_value_more_or_another_one_is_another_key(
    recipe: dict[str, object], name: str, value: object
) -> None:
    other: dict[str, object] = {**recipe, name: value}
    same = _typed(other) == _typed(recipe)  # type: ignore[arg-type]
    assert (key(recipe=other) == key(recipe=recipe)) == same  # type: ignore[arg-type]


def test_a_key_says_what_it_is_of_in_hexadecimal_digits() -> None:
    found = key()
    assert (found.feature, found.modality) == (Feature.IMAGE, MediaKind.IMAGE)
    assert re.fullmatch("[0-9a-f]{64}", found.digest)
    assert re.fullmatch("[0-9a-f]{32}", found.affinity)


def test_keys_stay_the_same_from_release_to_release() -> None:
    """Replicas and releases that share a Redis have to agree: these were written down once."""
    found = key()
    assert found.digest == "1a3ac4dd09ef7888076fc437ec287364d6aaebe786a367b9fabc33292cba2091"
    assert found.affinity == "5e94ca4d35ef876a4fe941af43a71c5a"


def test_another_process_makes_the_same_key() -> None:
    script = (
        "from tests.unit.test_identity import key, Identities, SECRET;"
        "print(key().digest, Identities(SECRET).conversation('ann', 'Hello'))"
    )
    folder = Path(__file__).parents[2]
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    assert told.split() == [key().digest, Identities(SECRET).conversation("ann", "Hello")]


def test_all_features_of_a_content_have_its_affinity() -> None:
    found = {key(feature=feature, recipe={"of": feature}).affinity for feature in Feature}
    assert found == {Identities(SECRET).content("ann", CONTENT, MediaKind.VIDEO).affinity}


def test_the_affinity_is_another_for_another_tenant_and_for_other_bytes() -> None:
    found = {key().affinity, key(tenant="bob").affinity, key(sha256=sha256_of(b"")).affinity}
    assert len(found) == 3


def test_the_affinity_of_a_conversation_is_that_of_its_tenant_and_of_how_it_begins() -> None:
    identities = Identities(SECRET)
    found = identities.conversation("ann", "Hello")
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found == identities.conversation("ann", "Hello")
    assert found != identities.conversation("bob", "Hello")
    assert found != identities.conversation("ann", "Hello!")
    assert (
        identities.conversation("ann", CONTENT)
        != identities.content("ann", CONTENT, MediaKind.IMAGE).affinity
    )


def test_names_that_are_no_unicode_have_keys_too() -> None:
    assert key(tenant="\udcff").digest != key(tenant="\udcfe").digest
    assert key(recipe={"prompt": "\udcff"}).digest != key(recipe={"prompt": "\udcfe"}).digest
    assert Identities(SECRET).conversation("ann", "\ud800")


def test_the_seal_is_of_the_server_and_is_no_secret_of_a_tenant() -> None:
    seal = Identities(SECRET).seal_key()
    assert len(seal) == 32
    assert seal == Identities(SECRET).seal_key()
    assert seal != Identities(b"another").seal_key()
    assert SECRET not in seal


# --- the secret of the server ------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(SECRET_ENV, raising=False)
    return tmp_path / "state"


def test_a_secret_is_made_once_for_this_user_only(state: Path) -> None:
    found = server_secret(state)
    path = state / SECRET_FILE
    assert len(found) >= SECRET_BYTES
    assert path.read_bytes() == found
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server_secret(state) == found
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_each_server_makes_another(state: Path) -> None:
    assert server_secret(state) != server_secret(state / "other")


def test_of_many_that_make_it_at_once_one_counts(state: Path) -> None:
    barrier = Barrier(8)

    def make(_: int) -> bytes:
        barrier.wait()
        return server_secret(state)

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(make, range(8)))
    assert found == {(state / SECRET_FILE).read_bytes()}
    assert [one.name for one in (state / SECRET_FILE).parent.iterdir()] == ["secret"]


def test_processes_that_make_it_at_once_agree(state: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as processes:
        found = set(processes.map(server_secret, [state, state], chunksize=1))
    assert found == {(state / SECRET_FILE).read_bytes()}


def test_a_secret_of_the_environment_counts_and_is_not_written_down(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET_ENV, SECRET.decode())
    assert server_secret(state) == SECRET
    assert not state.exists()


@pytest.mark.parametrize("short", ["", "hunter2", "x" * (SECRET_BYTES - 1)])
def test_a_short_secret_is_an_error_that_does_not_tell_it(
    state: Path, monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    monkeypatch.setenv(SECRET_ENV, short)
    with pytest.raises(ConfigError, match=SECRET_ENV) as caught:
        server_secret(state)
    assert not short or short not in str(caught.value)
    assert not state.exists()


def test_where_no_secret_can_be_kept_the_operator_is_told_what_to_do(state: Path) -> None:
    state.write_text("a file in the place of the folder")
    with pytest.raises(ConfigError, match=SECRET_ENV) as caught:
        server_secret(state)
    assert str(state) not in str(caught.value)


def test_a_secret_that_was_cut_short_is_none(state: Path) -> None:
    server_secret(state)
    (state / SECRET_FILE).write_bytes(b"")
    with pytest.raises(ConfigError, match="damaged"):
        server_secret(state)


# --- segments ----------------------------------------------------------------------------------------


def test_the_id_of_a_segment_is_that_of_its_file_bytes_and_place() -> None:
    found = segment_id("file-1", CONTENT, 0)
    assert str(UUID(found)) == found
    assert found == segment_id("file-1", CONTENT, 0)
    others = [
        segment_id("file-2", CONTENT, 0),
        segment_id("file-1", sha256_of(b""), 0),
        segment_id("file-1", CONTENT, 1),
        segment_id("file-1", CONTENT, 10),
    ]
    assert len({found, *others}) == 5
