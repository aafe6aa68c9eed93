"""What the pages promise: every command is marked for the test that runs it, and what they name exists."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from multimodal.config import MIB, AppArgs, Settings
from tests.readme import PYTHON, SHELL, Block, Marker, readme_blocks

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "deployments" / "README.md"]
BLOCKS = [
    pytest.param(block, id=f"{page.parent.name}-{block.line}")
    for page in PAGES
    for block in readme_blocks(page)
]
COMMANDS = [param for param in BLOCKS if isinstance(param.values[0], Block) and param.values[0].is_command]


def page(folder: Path, *lines: str) -> Path:
    path = folder / "PAGE.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


# --- the pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("block", COMMANDS)
def test_every_command_in_the_pages_is_marked(block: Block) -> None:
    assert block.marker is not None, f"line {block.line}: put <!-- test: run --> or skip before it"
    assert (block.reason is not None) == (block.marker is Marker.SKIP), (
        f"line {block.line}: reasons are for skip"
    )


@pytest.mark.parametrize("block", COMMANDS)
def test_every_command_in_the_pages_is_sound_syntax(block: Block) -> None:
    if block.language in PYTHON:
        ast.parse(block.text)
        return
    assert block.language in SHELL
    check = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert check.stderr == ""


def test_the_first_command_of_the_readme_that_runs_sends_a_picture() -> None:
    first = next(block for block in readme_blocks(PAGES[0]) if block.marker is Marker.RUN)
    assert "image_url" in first.text


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.parent.name)
def test_relative_links_lead_to_files(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_settings_in_the_readme_exist_and_have_the_defaults_that_it_says() -> None:
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| `(.*?)` \|", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 10
    for section, name, said in rows:
        settings = getattr(AppArgs(), section)
        assert isinstance(settings, Settings)
        assert getattr(settings, name) == value(said), f"{section}.{name}"


def value(said: str) -> object:
    """`64 MiB`, or a value as YAML has it."""
    number, _, unit = said.partition(" ")
    return int(number) * MIB if unit == "MiB" else yaml.safe_load(said)


# --- the parser ----------------------------------------------------------------------------------


def test_a_block_has_its_language_its_text_its_marker_and_its_line(tmp_path: Path) -> None:
    path = page(tmp_path, "# Title", "", "<!-- test: run -->", "```bash title", "a", "", "b", "```", "end")
    (block,) = readme_blocks(path)
    assert block == Block(language="bash", text="a\n\nb\n", marker=Marker.RUN, reason=None, line=4)
    assert block.is_command


def test_a_skipped_block_keeps_its_reason(tmp_path: Path) -> None:
    path = page(tmp_path, "<!-- test: skip needs a cluster -->", "```sh", "ray up cluster.yaml", "```")
    (block,) = readme_blocks(path)
    assert (block.marker, block.reason) == (Marker.SKIP, "needs a cluster")


def test_a_skip_without_a_reason_shows_as_such(tmp_path: Path) -> None:
    (block,) = readme_blocks(page(tmp_path, "<!-- test: skip -->", "```sh", "x", "```"))
    assert (block.marker, block.reason) == (Marker.SKIP, None)


def test_a_marker_holds_for_one_block_only(tmp_path: Path) -> None:
    first, second = readme_blocks(page(tmp_path, "<!-- test: run -->", "```sh", "```", "```sh", "```"))
    assert (first.marker, second.marker) == (Marker.RUN, None)


def test_blocks_of_output_and_settings_are_no_commands(tmp_path: Path) -> None:
    blocks = readme_blocks(page(tmp_path, "```", "x", "```", "```yaml", "x: 1", "```"))
    assert [block.is_command for block in blocks] == [False, False]


def test_a_block_in_a_list_loses_the_indentation_of_its_fence(tmp_path: Path) -> None:
    (block,) = readme_blocks(page(tmp_path, "1. Do", "   ```python", "   if x:", "       y", "   ```"))
    assert block.text == "if x:\n    y\n"


def test_a_longer_fence_may_hold_a_shorter_one(tmp_path: Path) -> None:
    (block,) = readme_blocks(page(tmp_path, "````text", "```sh", "x", "```", "````"))
    assert block.text == "```sh\nx\n```\n"


@pytest.mark.parametrize(
    "lines",
    [
        ["<!-- test: rum -->", "```sh", "```"],
        ["<!-- test:run -->", "```sh", "```"],
        ["<!-- Test: run -->", "```sh", "```"],
        ["<!-- test: run -->", "", "```sh", "```"],
        ["<!-- test: run -->"],
        ["```sh", "x"],
    ],
    ids=["misspelt", "no space", "capital", "not directly before", "at the end", "not closed"],
)
def test_what_would_leave_a_block_unseen_is_an_error(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(ValueError, match=r"PAGE\.md"):
        readme_blocks(page(tmp_path, *lines))


@given(st.lists(st.text(st.characters(exclude_characters="`\n\r", exclude_categories=["Cs"])), max_size=5))
def test_the_text_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    (block,) = readme_blocks(page(tmp_path_factory.getbasetemp(), "```sh", *lines, "```"))
    assert block.text == "".join(f"{line}\n" for line in lines)
