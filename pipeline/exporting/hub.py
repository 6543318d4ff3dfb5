"""`rlhf export --to hub`: the adapter, and if asked for the merged model, the reward model and the labels.

All of it is laid out in one folder, a folder a repository, before anything is sent. Annotators appear by their random
ids, and what they wrote in their own words (rationales, reasons of decisions) stays here. Texts in which the name or
address of somebody with an account stands are listed, and so are paths of this machine: names can be words, so people
decide, and say `--names-checked`.
"""

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from backbone.loading.licenses import license_for, license_of
from backbone.loading.model_name import resolve_model
from backbone.publishing.cards import is_hub_id
from foundation.errors import UserError
from foundation.files import read_json, write_json, write_jsonl, write_text
from pipeline.champion.lineage import sources_of
from pipeline.config.config import Config
from pipeline.exporting.data_card import data_card
from pipeline.exporting.formats import Dtype, shown
from pipeline.exporting.namings import namings
from pipeline.runs.folder import Run
from pipeline.runs.label_store import label_store
from policy.model_card import IN_THIS_FOLDER

PARTS = ("adapter", "merged", "reward", "labels")
KINDS_OF_LABELS = ("preferences", "ties", "soft", "orders", "ratings")
_REPLACED = (
    *("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    *(f"{kind}.jsonl" for kind in KINDS_OF_LABELS),
)
"""What an earlier export may have sent that would still be read: weights in other shards, labels since taken back."""
_OWN_WORDS = ("rationale", "rationales", "at", "seconds")
_REWARD = (
    "adapter_config.json", "adapter_model.safetensors", "README.md", "reward.json", "uncertainty.safetensors",
    "probe.safetensors",
)  # fmt: skip


def publish(
    run: Run,
    config: Config,
    console: Console,
    repo: str,
    parts: Sequence[str],
    dtype: Dtype | None,
    *,
    public: bool,
    names_checked: bool,
    dry_run: bool,
) -> None:
    """Show every text that may name somebody and every file; unless `dry_run`, send the files.

    `UserError` if there are such texts and nobody has checked them.
    """

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    with tempfile.TemporaryDirectory(dir=run.path, prefix=".publishing-") as scratch:
        laid = lay_out(run, config, run.artifact("export"), Path(scratch), repo, parts, dtype)
        named = list(namings(run, config, Path(scratch)))
        for line in named:
            say(f"may name somebody: {line}")
        for name, kind, folder in laid:
            say(f"{kind} {name}:")
            for line in shown([path for path in sorted(folder.rglob("*")) if path.is_file()], folder):
                say(f"  {line}")
        if dry_run:
            say("export: nothing was sent.")
            return
        if named and not names_checked:
            raise UserError(
                f"{len(named)} lines may name somebody or say where files lie on this machine; they are listed above. "
                "Nothing was sent. Change them, or say --names-checked."
            )
        for address in push(laid, public=public):
            say(f"export: sent to {address}")


def lay_out(
    run: Run, config: Config, exported: Path, folder: Path, repo: str, parts: Sequence[str], dtype: Dtype | None
) -> list[tuple[str, str, Path]]:
    """Write what is to be published into `folder`; returns a repository's name, its kind and its folder for each part.

    `UserError` if the base has no hub id, which nobody else could load, if a licence forbids it or has to be said, or
    if a part is not there.
    """
    if not is_hub_id(repo):
        raise UserError(f'--repo is "{repo}"; give a name such as someone/my-policy.')
    if unknown := sorted(set(parts) - set(PARTS)):
        raise UserError(f'there is no part "{unknown[0]}": expected some of {", ".join(PARTS)}.')
    base = str(read_json(exported / "adapter_config.json")["base_model_name_or_path"])
    if not is_hub_id(base) and set(parts) - {"labels"}:
        raise UserError(
            f"the base is {base}, a folder of this machine, which nobody else can load. Say its name on the hub: "
            "--set export.base=someone/model."
        )
    if "labels" in parts and not config.export.labels_license:
        raise UserError(
            "say under which licence others may use the labels: --labels-license ID, an id of the hub's such as "
            "cc-by-4.0, which those who judged must have agreed to."
        )
    license = ""
    if set(parts) - {"labels"}:
        license = license_for(license_of(resolve_model(config.model), base), config.export.license, base)
    makers: dict[str, Callable[[Path], None]] = {
        "adapter": lambda out: _adapter(exported, out),
        "merged": lambda out: _merged(config, exported, out, base, dtype),
        "reward": lambda out: _reward(run, out, base, license),
        "labels": lambda out: _labels(run, config, out),
    }
    laid: list[tuple[str, str, Path]] = []
    for part in (each for each in PARTS if each in parts):
        name = repo if part == "adapter" else f"{repo}-{part}"
        makers[part](folder / part)
        card = folder / part / "README.md"  # whose lines load what was sent
        text = card.read_text(encoding="utf-8")
        here = text.replace(IN_THIS_FOLDER, "").replace("'.'", repr(name))
        write_text(card, here.replace("path/to/this/folder", name))
        laid.append((name, "dataset" if part == "labels" else "model", folder / part))
    return laid


def push(laid: Sequence[tuple[str, str, Path]], *, public: bool) -> list[str]:
    """Make the repositories, private unless `public`, and send the folders; returns their addresses.

    `UserError` if the hub refuses.
    """
    from huggingface_hub import HfApi

    sent: list[str] = []
    api = HfApi()
    for name, kind, folder in laid:
        try:
            made = api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
            open_to_all = not public and api.repo_info(name, repo_type=kind).private is False
            if not open_to_all:
                api.upload_folder(
                    repo_id=name, repo_type=kind, folder_path=folder, commit_message="Export by rlhf-pipeline",
                    delete_patterns=list(_REPLACED),
                )  # fmt: skip
        except (OSError, ValueError) as error:  # what the hub's client raises derives from these
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(
                f"the hub refused {name}: {reason}.{_told(sent)} Needed "
                "are a network and a token that may write there: `hf auth login`, or HF_TOKEN in the environment."
            ) from error
        if open_to_all:
            raise UserError(
                f"{name} is there already and public, so that everybody would read what is sent.{_told(sent)} Make it "
                "private on the hub, choose another name, or say --public."
            )
        sent.append(str(made))
    return sent


def _told(sent: Sequence[str]) -> str:
    return f" {', '.join(sent)} had been sent." if sent else " Nothing was sent."


def _adapter(exported: Path, out: Path) -> None:
    shutil.copytree(exported, out)
    _without_own_words(out)


def _merged(config: Config, exported: Path, out: Path, base: str, dtype: Dtype | None) -> None:
    from policy.export import merge

    merge(exported, out, resolve_model(config.model), dtype, base)
    _without_own_words(out)


def _reward(run: Run, out: Path, base: str, license: str) -> None:
    """The reward model's own files, with the base's name on the hub, and the licence in its card.

    `UserError` if the policy was tuned towards another.
    """
    from transformers import AutoTokenizer

    from reward_model.score_head import ASPECTS

    reward, made, tuned = run.artifact("reward"), run.record("reward"), run.record("policy")
    used = sources_of(run, tuned).reward_sha256 if tuned else None
    if used and (made is None or made.output_sha256 != used):
        raise UserError(
            f"the adapter was not tuned towards the reward model in {reward}, which was made later, but towards one "
            f"with the sha256 {used}. Leave out --part reward, or tune anew: `rlhf policy --run {run.argument}`."
        )
    out.mkdir(parents=True)
    for name in (*_REWARD, ASPECTS):
        if (reward / name).is_file():
            shutil.copyfile(reward / name, out / name)
    AutoTokenizer.from_pretrained(reward).save_pretrained(out)  # whichever files that takes
    settings: dict[str, Any] = read_json(out / "adapter_config.json")
    before = str(settings["base_model_name_or_path"])
    write_json(out / "adapter_config.json", settings | {"base_model_name_or_path": base})
    card = (out / "README.md").read_text(encoding="utf-8").replace(before, base)
    head = f"---\nlicense: {json.dumps(license)}\n"
    head += "" if "\nbase_model:" in card else f"base_model: {json.dumps(base)}\n"
    write_text(out / "README.md", card.replace("---\n", head, 1))


def _labels(run: Run, config: Config, out: Path) -> None:
    """Rows in TRL's formats, a file a kind, with a data card."""
    from labeling_ui.exchange.exports import registry
    from labeling_ui.people.accounts import Accounts
    from labeling_ui.quality.assessment import agreement
    from labeling_ui.store.label_set import asked_in

    out.mkdir(parents=True)
    counts: dict[str, int] = {}
    judges: set[str] = set()
    with label_store(run, config) as store:
        for kind in KINDS_OF_LABELS:
            rows = [
                {name: value for name, value in row.items() if name not in _OWN_WORDS}
                for row in registry.rows(store, kind)
            ]
            if rows:
                counts[kind] = write_jsonl(out / f"{kind}.jsonl", rows)
            judges.update(*(row.get("annotators", [row.get("annotator")]) for row in rows))
        simulated = {person.id for person in Accounts(store.database).list() if person.simulated}
        agreed = agreement(store)
        with store.database.read() as connection:
            asked = Counter[tuple[str, str]]()
            for campaign, answers in asked_in(connection):
                asked[campaign.kind, campaign.instructions] += answers
    if not counts:
        raise UserError("the run has no labels to publish: leave out --part labels.")
    made_up = len(judges & simulated)
    card = data_card(
        counts,
        len(judges) - made_up,
        made_up,
        str(config.export.labels_license),
        asked,
        agreed.alpha,
    )
    write_text(out / "README.md", card)


def _without_own_words(folder: Path) -> None:
    """Leave out of the lineage why people decided, in their own words, and where files lay on this machine."""
    path = folder / "lineage.json"
    if not path.is_file():
        return
    found: dict[str, Any] = read_json(path)
    for decision in found.get("decisions", []):
        decision.pop("reason", None)
    write_json(path, _named(found))


def _named(value: Any) -> Any:
    """The same with the last part alone of every absolute path."""
    if isinstance(value, dict):
        return {key: _named(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_named(each) for each in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value
