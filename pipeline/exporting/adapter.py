"""The export stage's work: the adapter with a card that says what it was made from."""

from collections.abc import Sequence
from pathlib import Path

from backbone.loading.base_identity import note_of, provenance_of, published_name
from backbone.loading.licenses import license_of
from backbone.loading.model_name import resolve_model
from backbone.loading.models import load_tokenizer
from backbone.templates.plain_text import is_plain
from foundation.files import read_json, write_json
from pipeline.champion.lineage import LINEAGE, lineage_of
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from policy.export import export_adapter
from policy.model_card import load_snippet, model_card
from reward_model.rewards.registry import LEARNED

NO_LABELS = {"judgements": 0, "simulated_judgements": 0, "pairs": 0}


def export_with_card(
    run: Run,
    config: Config,
    folder: Path,
    *,
    adapter: Path,
    evaluation: Path | None,
    verdict: Path | None,
    told: Sequence[str],
) -> None:
    """Write the policy's adapter, the tokenizer, the card and the lineage into `folder`.

    The card says the verdict and `told` before all figures.
    """
    labels, reward_model, tuned = run.record("preferences"), run.record("reward"), run.record("policy")
    assert tuned
    model = resolve_model(config.model)
    base, tokenizer = config.export.base or published_name(model), load_tokenizer(model, config.template)
    card = model_card(
        base=base,
        note=note_of(model),
        license=config.export.license or license_of(model, base),
        snippet=load_snippet(base, ".", plain=is_plain(tokenizer)),
        how=how_tuned(config),
        labels=labels.figures if labels else NO_LABELS,
        evaluation=read_json(evaluation) if evaluation else {},
        verdict=read_json(verdict) if verdict else None,
        told=told,
        reward=reward_model.figures if reward_model else {},
        settings=config.policy.model_dump(mode="json")
        | {"quantization": config.quantization, "seed": config.seed, "round": run.round},
        provenance={
            "label set": labels.basis.extra["label_set"] if labels else "none",
            "reward model": reward_model.output_sha256 if reward_model else "none",
            **provenance_of(model),
            "made by": f"rlhf-pipeline {tuned.versions['rlhf-pipeline']}",
        },
    )
    export_adapter(adapter, tokenizer, folder, card, base)
    write_json(folder / LINEAGE, lineage_of(run, tuned))


def how_tuned(config: Config) -> str:
    """How the policy came about, for its card: "tuned ..."."""
    if config.quantization:
        return f"{_by(config)}, on its base quantised to {config.quantization} by bitsandbytes"
    return _by(config)


def _by(config: Config) -> str:
    if config.offline:
        return "by direct preference optimisation on pairwise judgements"
    learned = "a reward model of pairwise judgements" if config.learned_reward else ""
    programmed = ", ".join(spec.title for spec in config.rewards if spec.name != LEARNED)
    towards = [learned, f"programmed rewards ({programmed})" if programmed else ""]
    return f"by policy gradients towards {' and '.join(each for each in towards if each)}"
