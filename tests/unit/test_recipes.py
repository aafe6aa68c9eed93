"""Whatever changes what is made of a medium changes the key it is stored under, and nothing else does."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal import recipes
from multimodal.config import AppArgs
from multimodal.identity import Feature, Identities
from multimodal.models import manifest
from multimodal.recipes import FINGERPRINT_DIGITS, Recipes, fingerprint
from multimodal.types import FrameSampling, MediaKind, MediaSource, SpeechHints

NOWHERE = Path("no models")
HUB = "hf:org/model@1234"

SOURCES = {
    kind: MediaSource(kind=kind, data=b"bytes", param="p", filename="notes.md", declared_type="text/markdown")
    for kind in MediaKind
}
OF = {
    MediaKind.IMAGE: (Feature.IMAGE, Feature.OCR, Feature.VISUAL, Feature.DECODED),
    MediaKind.AUDIO: (Feature.TRANSCRIPT, Feature.VISUAL, Feature.DECODED),
    MediaKind.VIDEO: (Feature.VIDEO, Feature.VISUAL, Feature.DECODED),
    MediaKind.DOCUMENT: (Feature.DOCUMENT, Feature.DECODED),
}
"""What is made of each kind."""

IMAGE, AUDIO, VIDEO, DOCUMENT = MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO, MediaKind.DOCUMENT
TOWER = {"source": "tower"}


def digest(
    feature: Feature,
    source: MediaSource,
    settings: dict[str, object] | None = None,
    hints: SpeechHints | None = None,
    moments_s: tuple[float, ...] = (),
) -> str:
    """Of the key of this feature, in a server with these settings."""
    made = Recipes(AppArgs.model_validate(settings or {}), NOWHERE)
    content = Identities(b"secret").content("ann", "of the content", source.kind)
    return content.key(feature, made.feature(feature, source, hints, moments_s)).digest


def changed(before: dict[str, object], after: dict[str, object]) -> set[tuple[MediaKind, Feature]]:
    """The features that have another key with other settings."""
    return {
        (kind, feature)
        for kind, features in OF.items()
        for feature in features
        if digest(feature, SOURCES[kind], before) != digest(feature, SOURCES[kind], after)
    }


def every(*kinds: MediaKind) -> set[tuple[MediaKind, Feature]]:
    return {(kind, feature) for kind in kinds for feature in OF[kind]}


VISUALS = {(kind, Feature.VISUAL) for kind in (IMAGE, AUDIO, VIDEO)}
PICTURES = {(IMAGE, Feature.IMAGE), (VIDEO, Feature.VIDEO), (DOCUMENT, Feature.DOCUMENT)}
TEXTS = {(IMAGE, Feature.OCR), (VIDEO, Feature.VIDEO), (DOCUMENT, Feature.DOCUMENT)}
SPEECH = {(AUDIO, Feature.TRANSCRIPT), (VIDEO, Feature.VIDEO)}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"loader": {"image_max_side_px": 1024}}, every(IMAGE)),
        ({"loader": {"frame_max_side_px": 480}}, every(VIDEO)),
        ({"loader": {"max_frames": 4}}, every(VIDEO)),
        ({"loader": {"max_pages": 8}}, every(DOCUMENT)),
        ({"loader": {"max_page_images": 0}}, every(DOCUMENT)),
        ({"loader": {"page_preview_px": 100}}, every(DOCUMENT)),
        ({"loader": {"page_max_side_px": 640}}, every(DOCUMENT)),
        ({"image": {"model": HUB}}, PICTURES | VISUALS),
        ({"image": {"model": None}, "vision": TOWER}, PICTURES),
        ({"image": {"compute_type": "int8"}}, PICTURES | VISUALS),
        ({"reader": {"max_side_px": 640}}, TEXTS),
        ({"reader": {"min_confidence": 0.5}}, TEXTS),
        ({"audio": {"model": HUB}}, SPEECH),
        ({"audio": {"beam_size": 1}}, SPEECH),
        ({"audio": {"compute_type": "float32"}}, SPEECH),
        ({"video": {"scene_difference": 0.03}}, {(VIDEO, Feature.VIDEO), (VIDEO, Feature.VISUAL)}),
        ({"document": {"chunk_words": 100}}, {(DOCUMENT, Feature.DOCUMENT)}),
        ({"generator": {"model": HUB}}, VISUALS),
        ({"vision": {"dtype": "float16"}}, VISUALS),
        ({"vision": {"max_pixels": 1000}}, VISUALS),
    ],
    ids=str,
)
def test_what_changes_the_result_changes_the_key(
    settings: dict[str, object], expected: set[tuple[MediaKind, Feature]]
) -> None:
    before: dict[str, object] = {"vision": TOWER} if settings.get("vision") is TOWER else {}
    assert changed(before, settings) == expected


def test_a_tower_sees_something_else_than_a_connector() -> None:
    assert changed({}, {"vision": TOWER}) == VISUALS


@pytest.mark.parametrize(
    "settings", [{"image": {"model": HUB}}, {"video": {"scene_difference": 0.03}}], ids=str
)
def test_a_tower_does_not_look_at_what_image_encoder_saw(settings: dict[str, object]) -> None:
    found = changed({"vision": TOWER}, {**settings, "vision": TOWER})
    assert found
    assert not found & VISUALS


@pytest.mark.parametrize(
    "settings",
    [
        {"loader": {"workers": 5, "decode_timeout_s": 1, "timeout_s": 1, "worker_memory_bytes": 1 << 30}},
        {"loader": {"max_frames_limit": 200}},
        {"image": {"batch_items": 1, "batch_wait_s": 0.1, "timeout_s": 1, "device": "cuda", "space": "own"}},
        {"reader": {"batch_items": 1, "batch_wait_s": 0.1, "timeout_s": 1, "threads": 1}},
        {"audio": {"batch_windows": 1, "batch_wait_s": 0.1, "timeout_s": 1, "threads": 1, "part_windows": 1}},
        {"video": {"timeout_s": 1}},
        {"document": {"timeout_s": 1}},
        {"vision": {"batch_items": 1, "batch_wait_s": 0.1, "timeout_s": 1, "bypass": {"route": "engine"}}},
        {"vision": {"kinds": ["image", "video", "audio"]}},
        {"generator": {"max_num_seqs": 1, "timeout_s": 1, "default_temperature": 1, "system_prompt": "?"}},
        {"limits": {"image_bytes": 1, "video_s": 1}},
        {"cache": {"memory_bytes": 0, "image_ttl_s": 1}},
        {"library": {"frames": 3}},
    ],
    ids=str,
)
def test_what_does_not_change_the_result_does_not_change_the_key(settings: dict[str, object]) -> None:
    assert changed({}, settings) == set()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DECODER_VERSION", every(*MediaKind)),
        ("IMAGE_VERSION", PICTURES | VISUALS),
        ("OCR_VERSION", TEXTS),
        ("SPEECH_VERSION", SPEECH),
        ("VIDEO_VERSION", {(VIDEO, Feature.VIDEO), (VIDEO, Feature.VISUAL)}),
        ("DOCUMENT_VERSION", {(DOCUMENT, Feature.DOCUMENT)}),
        ("VISUAL_VERSION", VISUALS),
    ],
)
def test_versions_of_our_own_code_change_the_key(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: set[tuple[MediaKind, Feature]]
) -> None:
    places = every(*MediaKind)
    before = {place: digest(place[1], SOURCES[place[0]]) for place in places}
    monkeypatch.setattr(recipes, name, 999)
    assert {place for place in places if digest(place[1], SOURCES[place[0]]) != before[place]} == expected


# --- what a request says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (VIDEO, {"frame_sampling": FrameSampling.SCENE}),
        (VIDEO, {"frame_sampling": FrameSampling.KEYFRAMES}),
        (VIDEO, {"max_frames": 3}),
        (DOCUMENT, {"first_page": 2}),
        (DOCUMENT, {"filename": "notes.html"}),
        (DOCUMENT, {"filename": None}),
    ],
)
def test_how_a_request_has_it_decoded_changes_every_key(kind: MediaKind, changes: dict[str, object]) -> None:
    source = replace(SOURCES[kind], **changes)  # type: ignore[arg-type]
    for feature in OF[kind]:
        assert digest(feature, source) != digest(feature, SOURCES[kind])


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (VIDEO, {"max_frames": AppArgs().loader.max_frames}),
        (DOCUMENT, {"filename": "other.MD"}),
        (DOCUMENT, {"declared_type": "text/html"}),  # no decoder trusts it
        *((kind, {"param": "q", "max_frames": 3}) for kind in (IMAGE, AUDIO, DOCUMENT)),
        *((kind, {"frame_sampling": FrameSampling.SCENE}) for kind in (IMAGE, AUDIO, DOCUMENT)),
        *(
            (kind, {"filename": "x.y", "declared_type": "a/b", "first_page": 7})
            for kind in (IMAGE, AUDIO, VIDEO)
        ),
    ],
)
def test_what_does_not_change_the_decoding_does_not(kind: MediaKind, changes: dict[str, object]) -> None:
    source = replace(SOURCES[kind], **changes)  # type: ignore[arg-type]
    for feature in OF[kind]:
        assert digest(feature, source) == digest(feature, SOURCES[kind])


@pytest.mark.parametrize(
    "hints", [SpeechHints(language="de"), SpeechHints(prompt="Ann"), SpeechHints(temperature=0.5)]
)
def test_hints_change_what_is_heard_and_nothing_else(hints: SpeechHints) -> None:
    found = {
        (kind, feature)
        for kind, features in OF.items()
        for feature in features
        if digest(feature, SOURCES[kind], hints=hints) != digest(feature, SOURCES[kind])
    }
    assert found == SPEECH
    made = Recipes(AppArgs(), NOWHERE)
    assert made.transcript(hints) != made.transcript(SpeechHints())


def test_moments_change_what_the_generator_looks_at_and_nothing_else() -> None:
    all_moments = [(), (1.0,), (2.0,), (1.0, 2.0), (2.0, 1.0), (12.0,), (12345.678,), (12345.679,)]
    for feature, expected in ((Feature.VISUAL, len(all_moments)), (Feature.VIDEO, 1)):
        assert len({digest(feature, SOURCES[VIDEO], moments_s=one) for one in all_moments}) == expected


# --- models ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a model that the operator looks after."""
    found = tmp_path / "model"
    (found / "part").mkdir(parents=True)
    (found / "config.json").write_text("{}")
    (found / "part" / "weights.bin").write_bytes(b"1234")
    return found


def test_a_folder_is_told_apart_by_its_files(folder: Path) -> None:
    ref = f"file:{folder}"
    seen = [fingerprint(ref, NOWHERE)]
    assert len(seen[0]) == FINGERPRINT_DIGITS
    assert fingerprint(ref, NOWHERE) == seen[0]
    weights = folder / "part" / "weights.bin"
    weights.write_bytes(b"12345")
    seen.append(fingerprint(ref, NOWHERE))
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    seen.append(fingerprint(ref, NOWHERE))
    weights.rename(folder / "weights.bin")
    seen.append(fingerprint(ref, NOWHERE))
    (folder / "more.json").touch()
    seen.append(fingerprint(ref, NOWHERE))
    assert len(set(seen)) == len(seen)


def test_a_folder_can_be_moved(folder: Path) -> None:
    before = fingerprint(f"file:{folder}", NOWHERE)
    moved = folder.rename(folder.with_name("moved"))
    assert fingerprint(f"file:{moved}", NOWHERE) == before


def pulled(home: Path, weights: bytes, *, commit: str = "c") -> Path:
    """HUB, as the store keeps it."""
    found = home / "models" / "hf+org+model@1234"
    found.mkdir(parents=True, exist_ok=True)
    (found / "weights.bin").write_bytes(weights)
    files = manifest.record_files(found)
    manifest.write(found, manifest.Manifest(name="m", source=HUB, recipe=1, commit=commit, files=files))
    return found


def test_a_stored_model_is_told_apart_by_the_checksums_of_its_files(tmp_path: Path) -> None:
    pulled(tmp_path, b"1234")
    one = fingerprint(HUB, tmp_path)
    pulled(tmp_path, b"5678")
    other = fingerprint(HUB, tmp_path)
    assert one != other
    assert len(one) == FINGERPRINT_DIGITS


def test_the_same_files_are_the_same_model_wherever_and_whenever_they_were_pulled(tmp_path: Path) -> None:
    weights = pulled(tmp_path / "a", b"1234") / "weights.bin"
    os.utime(weights, ns=(0, 1))
    pulled(tmp_path / "b", b"1234", commit="another")
    assert fingerprint(HUB, tmp_path / "a") == fingerprint(HUB, tmp_path / "b")


def test_a_model_that_is_not_here_goes_by_its_reference(tmp_path: Path) -> None:
    assert fingerprint(HUB, tmp_path) == HUB
    (pulled(tmp_path, b"1234") / "weights.bin").write_bytes(b"1")
    assert fingerprint(HUB, tmp_path) == HUB


def test_models_are_looked_at_once(folder: Path) -> None:
    made = Recipes(AppArgs.model_validate({"audio": {"model": f"file:{folder}"}}), NOWHERE)
    before = made.transcript(SpeechHints())
    (folder / "config.json").write_text("other")
    assert made.transcript(SpeechHints()) == before
