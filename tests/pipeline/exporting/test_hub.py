"""`rlhf export --to hub`: what would be sent, whom it may name, and what a hub that refuses leads to."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard, ModelCard
from transformers import AutoTokenizer, CTRLTokenizer

from foundation.errors import UserError
from labeling_ui.people.accounts import Accounts
from pipeline import stages
from pipeline.config.config import Config
from pipeline.exporting import hub
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store
from tests.pipeline import tiny

ALL = ("adapter", "merged", "reward", "labels")
BASE = "someone/base"


@pytest.fixture(scope="module")
def named(finished: Path, tiny_settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Config]:
    """A finished run whose export names its base by a hub id, and which people with names have accounts in."""
    path = shutil.copytree(finished, tmp_path_factory.mktemp("named") / "run")
    licences = ["export.license=apache-2.0", "export.labels_license=cc-by-4.0"]
    run, config, console = tiny.opened(path, [*tiny_settings, f"export.base={BASE}", *licences])
    stages.export(run, config, console)
    with label_store(run, config) as store:
        Accounts(store.database).add("Zelda Q. Fitzgerald", "admin", "correct horse", "zelda@example.org")
        Accounts(store.database).add("river", "annotator", "correct horse")
    return run, config


def published(run: Run, config: Config, parts: tuple[str, ...] = ALL, **options: bool) -> str:
    _, _, console = tiny.opened(run.path, [])
    settings = {"public": False, "names_checked": False, "dry_run": True} | options
    hub.publish(run, config, console, "someone/mine", parts, None, **settings)
    return tiny.printed(console)


def test_a_dry_run_shows_every_file_of_every_repository_and_whom_it_may_name(
    named: tuple[Run, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "push", lambda *_, **__: pytest.fail("sent"))
    said = published(*named)
    for line in (
        "model someone/mine:", "model someone/mine-merged:", "model someone/mine-reward:",
        "dataset someone/mine-labels:", "  preferences.jsonl  ", "  reward.json  ", "nothing was sent",
    ):  # fmt: skip
        assert line in said
    assert "may name somebody: labels/preferences.jsonl, line" in said  # a prompt has the word "river"
    assert "Zelda" not in said
    assert not list(named[0].path.glob(".publishing-*"))


def test_what_is_sent_names_nobody_and_no_folder(named: tuple[Run, Config], tmp_path: Path) -> None:
    run, config = named
    laid = hub.lay_out(run, config, run.artifact("export"), tmp_path, "someone/mine", ALL, None)
    assert [(name, kind) for name, kind, _ in laid] == [
        ("someone/mine", "model"), ("someone/mine-merged", "model"), ("someone/mine-reward", "model"),
        ("someone/mine-labels", "dataset"),
    ]  # fmt: skip
    texts = [path for path in tmp_path.rglob("*") if path.suffix in (".md", ".json", ".jsonl", ".jinja")]
    for path in texts:
        text = path.read_text(encoding="utf-8")
        for word in ("Zelda", "zelda@", str(run.path), str(Path(config.model).parent), "rationale"):
            assert word not in text, path
    for part in ("adapter", "merged", "reward"):
        card = ModelCard.load(tmp_path / part / "README.md")
        assert (card.data.base_model, card.data.license) == (BASE, "apache-2.0")
        assert f"from_pretrained('someone/mine{'' if part == 'adapter' else f'-{part}'}')" in card.text
    for part in ("adapter", "reward"):
        settings = json.loads((tmp_path / part / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == BASE
    card = DatasetCard.load(tmp_path / "labels" / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert "annotators are simulated" in card.text
    rows = load_dataset("json", data_files=str(tmp_path / "labels" / "preferences.jsonl"), split="train")
    assert {"prompt", "chosen", "rejected", "annotators"} <= set(rows.column_names)


def test_texts_that_may_name_somebody_are_not_sent_unread(
    named: tuple[Run, Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(hub, "push", lambda laid, public: sent.extend(name for name, *_ in laid) or sent)
    with pytest.raises(UserError, match=r"lines may name somebody.*--names-checked"):
        published(*named, ("labels",), dry_run=False)
    assert sent == []
    published(*named, ("labels",), dry_run=False, names_checked=True)
    assert sent == ["someone/mine-labels"]


def test_a_base_that_nobody_else_can_load_is_refused(finished: Path, tiny_settings: list[str], tmp_path: Path) -> None:
    run, config, _ = tiny.opened(shutil.copytree(finished, tmp_path / "run"), tiny_settings)
    with pytest.raises(UserError, match=r"a folder of this machine.*export\.base"):
        published(run, config, ("adapter",))
    for repo, part, told in (("mine", "adapter", "give a name such as"), ("a/b", "weights", 'no part "weights"')):
        with pytest.raises(UserError, match=told):
            hub.lay_out(run, config, run.artifact("export"), tmp_path / "out", repo, [part], None)


@pytest.mark.parametrize(
    ("written", "said", "told"),
    [
        ("license: cc-by-nd-4.0", [], r"cc-by-nd-4\.0, forbids to publish.*--license ID"),
        ("license: other", [], "terms of its own.*--license other carries them over"),
        ("license: mit\nextra_gated_prompt: Do you agree?", [], "terms of its own"),
        ("", [], "nothing says under which licence someone/base is.*--license ID"),
        ("license: cc-by-nc-4.0", ["export.license=mit"], r"non-commercial \(cc-by-nc-4\.0\).*mit would take that"),
        ("license: mit", ["export.labels_license=null"], "others may use the labels: --labels-license ID"),
    ],
)
def test_what_a_licence_forbids_or_leaves_open_is_not_published(
    written: str, said: list[str], told: str, licensed: Callable[..., tuple[Run, Config]]
) -> None:
    with pytest.raises(UserError, match=told):
        published(*licensed(written, said))


@pytest.mark.parametrize(
    ("written", "said", "carried"),
    [
        ("license: cc-by-nc-4.0", [], "cc-by-nc-4.0"),
        ("license: llama3.2", ["export.license=llama3.2"], "llama3.2"),
        ("license: cc-by-nd-4.0", ["export.license=mit"], "mit"),
    ],
)
def test_cards_name_the_licence_of_the_base_and_of_what_was_made_from_it(
    written: str, said: list[str], carried: str, licensed: Callable[..., tuple[Run, Config]], tmp_path: Path
) -> None:
    run, config = licensed(written, said)
    hub.lay_out(run, config, run.artifact("export"), tmp_path / "laid", "someone/mine", ["adapter", "reward"], None)
    for part in ("adapter", "reward"):
        assert ModelCard.load(tmp_path / "laid" / part / "README.md").data.license == carried
    assert f"| base licence | `{written.split()[1]}` |" in (tmp_path / "laid" / "adapter" / "README.md").read_text()


def test_the_licence_of_the_labels_makes_no_adapter_anew(
    finished: Path, tiny_settings: list[str], tmp_path: Path
) -> None:
    path = shutil.copytree(finished, tmp_path / "run")
    run, config, console = tiny.opened(path, [*tiny_settings, "export.labels_license=mit"])
    assert stages.export(run, config, console).skipped
    run, config, console = tiny.opened(path, [*tiny_settings, "export.license=mit"])
    assert not stages.export(run, config, console).skipped


@pytest.fixture
def licensed(finished: Path, tiny_settings: list[str], tmp_path: Path) -> Callable[..., tuple[Run, Config]]:
    """The finished run, exported anew from a base whose card says so."""

    def made(written: str, said: list[str]) -> tuple[Run, Config]:
        path = shutil.copytree(finished, tmp_path / "run")
        _, before, _ = tiny.opened(path, tiny_settings)
        model = shutil.copytree(before.model, tmp_path / "base")
        (model / "README.md").write_text(f"---\n{written}\n---\n# A model\n")
        settings = [f"export.base={BASE}", "export.labels_license=cc-by-4.0", *said]
        run, config, console = tiny.opened(path, [*tiny_settings, f"model={model}", *settings])
        stages.export(run, config, console)
        return run, config

    return made


@pytest.fixture
def forbidding() -> Iterator[str]:
    """A hub whose answer to everything is that the token may not."""

    class Forbidden(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_POST

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forbidden)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_token_without_rights_is_told_of(forbidding: str, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    code = (
        "from pathlib import Path\nfrom foundation.errors import UserError\nfrom pipeline.exporting.hub import push\n"
        "try:\n    push([('someone/mine', 'model', Path('adapter'))], public=False)\n"
        "except UserError as error:\n    print(error)"
    )
    environment = {"HF_ENDPOINT": forbidding, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_none", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "the hub refused someone/mine: " in done.stdout
    assert "Nothing was sent. Needed are a network and a token that may write there" in done.stdout
    assert "hf_none" not in done.stdout


class _Hub:
    """A hub on which a repository may be there already, with files from before."""

    def __init__(self, private: bool, files: set[str]) -> None:
        self.private, self.files = private, files

    def create_repo(self, name: str, **_: Any) -> str:
        return f"https://hub/{name}"

    def repo_info(self, name: str, **_: Any) -> Any:
        return SimpleNamespace(private=self.private)

    def upload_folder(self, *, folder_path: Path, delete_patterns: Sequence[str] = (), **_: Any) -> None:
        self.files = {file for file in self.files if not any(fnmatch(file, each) for each in delete_patterns)}
        self.files |= {path.name for path in folder_path.iterdir()}


def test_nothing_private_goes_to_a_repository_that_is_public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ties.jsonl").touch()
    there = _Hub(private=False, files=set())
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: there)
    with pytest.raises(UserError, match=r"someone/labels is there already and public.*Nothing was sent"):
        hub.push([("someone/labels", "dataset", tmp_path)], public=False)
    assert there.files == set()
    hub.push([("someone/labels", "dataset", tmp_path)], public=True)
    assert there.files == {"ties.jsonl"}


def test_what_an_earlier_export_sent_is_not_read_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would read the one file before the shards, and labels that were taken back would stay."""
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    there = _Hub(private=True, files={"model.safetensors", "ties.jsonl", "mine.txt", "checkpoints/model.safetensors"})
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: there)
    hub.push([("someone/merged", "model", tmp_path)], public=False)
    assert there.files == {"model-00001-of-00002.safetensors", "mine.txt", "checkpoints/model.safetensors"}


def test_the_reward_part_has_whichever_files_its_tokenizer_takes(named: tuple[Run, Config], tmp_path: Path) -> None:
    path = shutil.copytree(named[0].path, tmp_path / "run")
    reward = path / "round-000" / "reward"
    (reward / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps({"<unk>": 0, "a@@": 1, "b</w>": 2, "a": 3, "b": 4}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    CTRLTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")).save_pretrained(reward)
    hub.lay_out(Run(path), named[1], path / "round-000" / "export", tmp_path / "laid", "a/b", ["reward"], None)
    sent = {each.name for each in (tmp_path / "laid" / "reward").iterdir()}
    assert {"vocab.json", "merges.txt", "tokenizer_config.json"} <= sent
    assert not {"trained_on.json", "bag_of_words.json"} & sent
    old, new = (AutoTokenizer.from_pretrained(each) for each in (reward, tmp_path / "laid" / "reward"))
    assert new("a b ab")["input_ids"] == old("a b ab")["input_ids"]
