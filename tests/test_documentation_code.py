"""The code in the documentation runs: Python as it stands, YAML and JSON through the program that reads them.

Lines of shell, and README's Python, which belongs to them, are typed in `test_documentation_shell.py`.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labeling_ui.exchange.imports import import_file
from labeling_ui.store.store import Store
from pipeline.collection.prompts import read_prompts
from pipeline.config.config import load_config
from tests.test_documentation import PAGES, ROOT

README = ROOT / "README.md"
LESSON = ROOT / "docs" / "policy-gradients.md"
CHINESE = ROOT / "docs" / "policy-gradients.zh.md"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of that language, in their order."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def with_blocks(language: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, language)]


@pytest.mark.parametrize(
    "page", [page for page in with_blocks("python") if page not in (CHINESE, README)], ids=lambda page: page.name
)
def test_python_blocks_run_as_they_stand(page: Path, tmp_path: Path) -> None:
    code = "\n".join(blocks(page, "python"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::FutureWarning", "-c", code],
        cwd=tmp_path, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_both_languages_of_the_lesson_show_the_same_code() -> None:
    assert blocks(CHINESE, "python") == blocks(LESSON, "python")
    figures = [re.findall(r"\]\((figures/\w+\.svg)\)", page.read_text(encoding="utf-8")) for page in (LESSON, CHINESE)]
    assert figures[0] == figures[1] != []


@pytest.mark.parametrize("page", with_blocks("yaml"), ids=lambda page: page.name)
def test_yaml_blocks_are_configurations(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        (tmp_path / "config.yaml").write_text(block, encoding="utf-8")
        load_config(tmp_path / "config.yaml", environment={})


@pytest.mark.parametrize("page", with_blocks("json"), ids=lambda page: page.name)
def test_json_blocks_are_prompts_or_answers(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "json")):
        rows = [json.loads(line) for line in block.splitlines()]
        file = tmp_path / f"{number}.jsonl"
        file.write_text(block, encoding="utf-8")
        if "answer" in rows[0]:
            store = Store(tmp_path / f"{number}.db")
            assert import_file(store, "answers", file).taken == len(rows)
            store.close()
        else:
            assert len(read_prompts(file, 0.2)) == len(rows)


def test_every_block_is_of_a_language_that_is_tested() -> None:
    for page in PAGES:
        opened = re.findall(r"^```(\S*)$", page.read_text(encoding="utf-8"), re.MULTILINE)[::2]
        assert set(opened) <= {"python", "yaml", "json", "sh", ""}, page.name
