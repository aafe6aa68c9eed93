from __future__ import annotations

from pathlib import Path

from benchmarks import report
from benchmarks.common import Ratio
from benchmarks.findings import Finding, Target, check
from tests.unit.benchmarks.recording import document, write


def found(value: float, target: Target | None) -> dict[str, object]:
    ratio = Ratio(value=value, low=value - 0.1, high=value + 0.1)
    return Finding(
        name="CPU | each", sides="ours / theirs", ratio=ratio, first=1, second=2, unit="ms", target=target
    ).as_json()


def report_of(folder: Path, *documents: dict[str, object], failures: dict[str, str] | None = None) -> str:
    write(folder, *documents)
    return report.write(failures, folder).read_text(encoding="utf-8")


def test_it_says_what_was_met_and_where_that_comes_from(tmp_path: Path) -> None:
    findings = [found(3.0, Target(at_least=2, aim=4)), found(1.0, Target(at_least=2)), found(1.0, None)]
    checks = [check("cosine", 0.9995, Target(at_least=0.999))]
    results = {"findings": findings, "checks": checks, "facts": {"peak": 0.5}, "others_cores": 0.7}
    text = report_of(tmp_path, document("jpeg", results, changed={"uncommitted_changes": True}))
    assert "## Targets: 2 of 3 met" in text
    assert "| CPU \\| each | ours / theirs | 3.000 [2.900, 3.100] | >= 2, aim 4 | met | 1 ms | 2 ms |" in text
    assert "| >= 2 | **missed** |" in text
    assert "- `python -m benchmarks.jpeg`\n" in text
    assert "commit aaaaaaaaaa (not that of this report), with uncommitted changes" in text
    assert "2 cores of a processor, 16 GiB" in text
    assert "| peak | 0.5 |" in text
    assert "Other programs used up to 0.70 cores" in text


def test_a_quick_result_meets_nothing(tmp_path: Path) -> None:
    command = "python -m benchmarks.jpeg --quick"
    results = {"findings": [found(3.0, Target(at_least=2))]}
    text = report_of(tmp_path, document("jpeg", results, command=command))
    assert "## Targets: 0 of 0 met" in text
    assert report.QUICK_NOTE in text
    assert "| met |" not in text


def test_it_says_what_was_not_measured(tmp_path: Path) -> None:
    text = report_of(tmp_path, document("graph_tax", {}), failures={"ocr": "exit status 1"})
    assert "- ocr: failed in the last run (exit status 1)" in text
    (never,) = (line for line in text.splitlines() if line.startswith("- Never measured here"))
    assert "jpeg" in never
    assert "graph-tax" not in never
    assert "ocr" not in never


def test_benchmarks_without_findings_show_their_ratios(tmp_path: Path) -> None:
    results = {"speeds": [{"a / b": {"value": 1.5, "low": 1.0, "high": 2.0}}]}
    text = report_of(tmp_path, document("retrieval", results), document("memory", {"total_bytes": 1}))
    assert "| speeds / 0 / a / b | 1.500 [1.000, 2.000] |" in text
    assert "No numbers that this report can show" in text


def test_sections_stand_in_the_order_of_the_suite(tmp_path: Path) -> None:
    names = ("another", "ocr", "graph_tax", "jpeg")
    text = report_of(tmp_path, *(document(name, {}) for name in names))
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["Not measured", "graph_tax", "jpeg", "ocr", "another"]


def test_without_results_there_is_a_report_that_says_so(tmp_path: Path) -> None:
    assert "Never measured here" in report_of(tmp_path / "new")


def test_pictures_stand_in_the_section(tmp_path: Path) -> None:
    line = {"plot": "Latency", "side": "ours", "x": [1, 2], "y": [3, 4], "x_label": "x", "y_label": "y"}
    text = report_of(tmp_path, document("jpeg", {"series": [line], "samples": [{}]}))
    assert "![jpeg-latency](jpeg-latency.png)" in text
    assert (tmp_path / "jpeg-latency.png").is_file()
    assert "Not shown, because its shape is not known: samples." in text
