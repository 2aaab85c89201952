"""`docs/format.md` is what the code says, and the code's every stage is in it."""

import importlib
import inspect
from pathlib import Path

from curation.errors import Code
from curation.schema import TABLES
from curation.stage import Stage
from pipelines.format_page import STAGES, page

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("curation", "captioning", "retrieval_index", "pipelines")


def stages_in_the_code() -> set[type[Stage]]:
    """Every subclass of `Stage`, found by reading all files that name it."""
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if "(Stage)" in path.read_text(encoding="utf-8"):
                module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
                classes = (value for _, value in inspect.getmembers(module, inspect.isclass))
                found |= {one for one in classes if issubclass(one, Stage) and one is not Stage}
    return found


def test_the_page_on_disk_is_the_one_of_the_code() -> None:
    written = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m pipelines.format_page > docs/format.md"


def test_every_stage_is_in_the_page() -> None:
    shown = {(stage.NAME, stage.RESULTS) for stage in STAGES}  # imported captions are rows of the stage `caption`
    assert [stage for stage in stages_in_the_code() if (stage.NAME, stage.RESULTS) not in shown] == []
    for stage in STAGES:
        section = page().partition(f"### {stage.NAME} (key: {stage.GRAIN}, version {stage.VERSION})\n")[2]
        columns = section.partition("\n### ")[0]
        assert [name for name in stage.RESULTS.names if f"| `{name}` |" not in columns] == []


def test_every_table_column_and_code_is_in_the_page() -> None:
    text = page()
    for name, schema in TABLES.items():
        columns = text.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        assert [field.name for field in schema if f"| `{field.name}` | {field.type} |" not in columns] == []
    assert [code for code in Code if f"| `{code.value}` |" not in text.partition("\n## Codes\n")[2]] == []


def test_no_column_is_without_a_meaning() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    assert [row for row in rows if any(not cell.strip() for cell in row.strip("|").split("|"))] == []
