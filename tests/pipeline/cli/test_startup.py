"""What a command loads before it begins, and what Ctrl-C does meanwhile. Nothing here is timed."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.commands import app

HEAVY = {"torch", "transformers", "peft", "trl", "gradio", "datasets", "scipy", "matplotlib", "numpy", "pandas"}
MODELS = {"torch", "transformers", "peft", "trl", "accelerate", "datasets"}
HUB = {"huggingface_hub.file_download", "httpx", "httpx2", "requests"}
STATISTICS = {"pandas", "scipy.stats", "statsmodels", "evalica", "crowdkit", "matplotlib"}
PAGES = {"gradio", "fastapi", "uvicorn", "starlette", "jinja2", "markdown_it", "numpy"}


def fresh(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process that has loaded nothing yet."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("module", ["pipeline.config.config", "pipeline.cli.commands", "pipeline.stages"])
def test_configuration_and_command_line_load_no_model_library(module: str) -> None:
    done = fresh(f"import sys, {module}\nprint(*sys.modules)")
    assert not HEAVY & set(done.stdout.split()), done.stderr


def test_commands_that_need_no_model_load_no_model_library(tmp_path: Path) -> None:
    judged = tmp_path / "judged.jsonl"
    judged.write_text('{"prompt": "2+2?", "chosen": "4", "rejected": "5"}\n')
    run = ["--run", str(tmp_path / "run")]
    commands = [
        ["users", "invite", *run],
        ["users", "list", *run],
        ["users", "log", *run],
        ["users", "role", "Nobody", "admin", *run],
        ["label", "--set", "label.root_path=/admin", *run],
        ["import", str(judged), "--format", "trl", *run],
        ["labels", "verify", *run],
        ["reward", "--set", "reward.epoch=2", *run],
        ["label", "--help"],
    ]
    done = fresh(
        "import sys\nfrom typer.testing import CliRunner\nfrom pipeline.cli.commands import app\n"
        f"print(*(CliRunner().invoke(app, each).exit_code for each in {commands!r}))\nprint(*sys.modules)"
    )
    statuses, loaded = done.stdout.splitlines()
    assert statuses == "0 0 0 2 2 0 0 2 0"
    assert not HEAVY & set(loaded.split())


HELP_OF_ALL = """
import sys, typer
from typer.testing import CliRunner
from pipeline.cli.commands import app

def names(command, before=()):
    yield before
    for name, inner in getattr(command, "commands", {}).items():
        yield from names(inner, (*before, name))

for name in names(typer.main.get_command(app)):
    print(*name, "=", CliRunner().invoke(app, [*name, "--help"]).exit_code)
print(*sys.modules)
"""


def test_the_help_of_every_command_loads_no_configuration_and_no_store() -> None:
    *helped, loaded = fresh(HELP_OF_ALL).stdout.splitlines()
    assert "labels export = 0" in helped
    assert all(line.endswith("= 0") for line in helped)
    assert not (HEAVY | {"yaml", "sqlalchemy", "pipeline.config.config"}) & set(loaded.split())


@pytest.mark.parametrize("by", ["", ', "origin": "pair", "votes": [1, 1], "annotators": [1, 2]'])
def test_export_and_report_load_no_statistics_also_where_two_people_judged_the_same(by: str, tmp_path: Path) -> None:
    judged = tmp_path / "judged.jsonl"
    rows = (f'{{"prompt": "{n}+2?", "chosen": "4", "rejected": "5"{by}}}\n' for n in range(20))
    judged.write_text("".join(rows))
    run = ["--run", str(tmp_path / "run")]
    commands = [
        ["import", str(judged), "--format", "trl", *run],
        ["labels", "export", str(tmp_path / "out.jsonl"), *run],
        ["report", *run],
    ]
    done = fresh(
        "import sys\nfrom typer.testing import CliRunner\nfrom pipeline.cli.commands import app\n"
        f"print(*(CliRunner().invoke(app, each).exit_code for each in {commands!r}))\nprint(*sys.modules)"
    )
    statuses, loaded = done.stdout.splitlines()
    assert statuses == "0 0 0"
    assert (tmp_path / "run" / "report.html").exists()
    assert not (MODELS | HUB | STATISTICS) & set(loaded.split())


UNTIL_THE_ADDRESS = """
import os, sys
from pipeline.cli.commands import app

write = sys.stdout.write

def watched(text):
    if text.startswith("Label at"):
        write(" ".join(sys.modules))
        sys.stdout.flush()
        os._exit(0)
    return write(text)

sys.stdout.write = watched
app(["label", "--port", sys.argv[2], "--run", sys.argv[1]])
"""


def test_rlhf_label_tells_its_address_before_it_loads_the_pages(tmp_path: Path) -> None:
    judged = tmp_path / "judged.jsonl"
    judged.write_text('{"prompt": "2+2?", "chosen": "4", "rejected": "5"}\n')
    taken = CliRunner().invoke(app, ["import", str(judged), "--format", "trl", "--run", str(tmp_path / "run")])
    assert taken.exit_code == 0, taken.output
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    done = fresh(UNTIL_THE_ADDRESS, tmp_path / "run", port)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "labeling_ui.web.server" in loaded
    assert not (MODELS | HUB | STATISTICS | PAGES) & loaded


def test_a_fast_look_at_the_machine_loads_no_model_library() -> None:
    done = fresh(
        "import sys\nfrom typer.testing import CliRunner\nfrom pipeline.cli.commands import app\n"
        "for more in ([], ['--model', 'demo']):\n"
        "    print(CliRunner().invoke(app, ['doctor', '--fast', *more]).exit_code)\n"
        "print(*sys.modules)"
    )
    whole, with_model, loaded = done.stdout.splitlines()
    assert (whole, with_model) == ("0", "2")
    assert not MODELS & set(loaded.split())


def test_the_labeling_app_loads_no_model_library_and_no_statistics() -> None:
    """The figures of the admin page load statistics when they are first looked at."""
    done = fresh("import sys, labeling_ui.web.app, pipeline.live_generation\nprint(*sys.modules)")
    loaded = set(done.stdout.split())
    assert "gradio" in loaded, done.stderr
    assert not (MODELS | {"scipy", "statsmodels", "evalica", "matplotlib"}) & loaded


INTERRUPTING = """
import os, signal, sys, time
from pipeline.__main__ import main

module, *arguments = sys.argv[1:]

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
            except BaseException:  # as some libraries do
                pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # what starts tests may have it ignored
sys.meta_path.insert(0, Interrupting())
sys.argv = ["rlhf", *arguments]
main()
"""


@pytest.mark.parametrize(
    "module", ["typer", "rich.console", "pipeline.cli.users", "pydantic", "yaml", "torch", "torch.nn"]
)
def test_ctrl_c_in_the_middle_of_an_import_is_one_line(module: str, tmp_path: Path) -> None:
    done = fresh(INTERRUPTING, module, "evaluate-reward", "--reward", tmp_path, "--pairs", tmp_path)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.splitlines() == ["Stopped. Nothing finished is lost; the same command goes on from here."]
