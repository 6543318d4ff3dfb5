"""The adapter in an empty folder, in an environment with transformers and PEFT alone: the lines of its card run."""

import os
import shutil
import subprocess
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from backbone.loading.model_folder import DEMO_HUB_ID
from policy.model_card import load_snippet, model_card
from tests.clients.exporting import export
from tests.hub_cache import cached_as

NEXT = "=" * 8
WITHOUT_ADAPTER = "model = PeftModel.from_pretrained(model, '.')\n"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that finds transformers, PEFT and what these two require; the packages are borrowed by links."""
    folder = tmp_path_factory.mktemp("empty-environment")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    for found in required("transformers", "peft", "torch", "jinja2"):
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))).resolve())
    return folder / "bin" / "python"


def required(*names: str) -> Iterator[Distribution]:
    """These packages and those that they require."""
    left, seen = list(names), set()
    while left:
        name = left.pop().lower().replace("_", "-")
        if name not in seen:
            seen.add(name)
            yield (found := distribution(name))
            wanted = [Requirement(each) for each in found.requires or ()]
            left += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]


@pytest.mark.parametrize("base", ["folder", "hub id"])
def test_the_lines_of_the_card_run_and_write_another_text_than_the_base(
    base: str, python: Path, tiny_model: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    if base == "hub id":
        cached_as(DEMO_HUB_ID, tiny_model, home)
    name = DEMO_HUB_ID if base == "hub id" else str(tiny_model)
    card = model_card(
        base=name, license="mit", snippet=load_snippet(name, "."), labels={"judgements": 0, "simulated_judgements": 0,
        "pairs": 0}, evaluation={}, reward={}, settings={}, provenance={},
    )  # fmt: skip
    made = export(tiny_model, tmp_path / "made", card=card)
    copied = shutil.copytree(made, tmp_path / "copied")
    shutil.rmtree(made)
    (lines,) = (each.split("```")[0] for each in (copied / "README.md").read_text().split("```python\n")[1:])
    assert WITHOUT_ADAPTER in lines
    text, of_base = run(python, copied, [lines, lines.replace(WITHOUT_ADAPTER, "")], home)
    assert text.strip()
    assert text.strip() != of_base.strip()


def run(python: Path, folder: Path, codes: list[str], home: Path) -> list[str]:
    """What each of these prints, in one process that can import nothing of ours."""
    code = f"""
import importlib.util
for each in {codes!r}:
    exec(each, {{}})
    print({NEXT!r})
assert not any(map(importlib.util.find_spec, ["pipeline", "backbone", "trl", "datasets"]))
"""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(NEXT)[:-1]
