"""Tables and the model card."""

from __future__ import annotations

from pathlib import Path

from multimodal.training.report import THRESHOLD, Result, load, markdown, model_card, save, threshold
from multimodal.training.sources import EMOJIBASE, ICON_SETS
from multimodal.training.tower import TowerSpec

RESULTS = [Result("one", "R@1", 0.5), Result("one", "R@5", 0.75), Result("two", "R@1", 0.25)]


def test_each_gallery_has_a_table() -> None:
    text = markdown(RESULTS)
    assert text.count("|---|---:|") == 2
    assert "| R@5 | 0.750 |" in text


def test_results_come_back_as_they_were_saved(tmp_path: Path) -> None:
    save(RESULTS, tmp_path)
    assert load(tmp_path) == RESULTS


def test_the_threshold_is_found_among_other_numbers(tmp_path: Path) -> None:
    results = [*RESULTS, Result("confidence", THRESHOLD, 0.375), Result("confidence", "AUROC", 0.9)]
    assert threshold(results) == 0.375
    save(results, tmp_path)
    assert threshold(load(tmp_path)) == 0.375


def test_the_card_names_every_source_its_licence_and_its_author() -> None:
    card = model_card(RESULTS, 20_000_000, TowerSpec())
    for source in (*ICON_SETS, EMOJIBASE):
        assert source.name in card
        assert source.licence in card
        assert source.attribution in card
    assert "10.0 million parameters" in card


def test_styles_of_one_family_are_held_out_together() -> None:
    fluent = {one.held_out for one in ICON_SETS if one.short.startswith("fluent")}
    assert fluent == {True}
    assert len(ICON_SETS) == 8
