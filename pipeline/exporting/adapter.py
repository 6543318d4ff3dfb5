"""The export stage's work: the adapter with a card that says what it was made from.

What made it is read from the record of its training and of what that used, never from the present configuration: labels
and a reward model that came later, or settings that were changed since, made another policy.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backbone.loading.base_identity import note_of, provenance_of, published_name
from backbone.loading.licenses import license_of
from backbone.loading.model_name import resolve_model
from backbone.loading.models import load_tokenizer, undeclared_ends
from backbone.templates.plain_text import is_plain
from foundation.files import read_json, write_json
from pipeline.champion.history import check_model
from pipeline.champion.lineage import LINEAGE, Sources, lineage_of, sources_of
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from policy.config import OFFLINE
from policy.export import export_adapter
from policy.model_card import load_snippet, model_card
from reward_model.rewards.registry import LEARNED

NO_LABELS = {"judgements": 0, "simulated_judgements": 0, "pairs": 0}
_SAID_ELSEWHERE = ("model", "rewards")
"""Settings of the policy stage that the card's first sentence tells in words."""


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

    The card says the verdict and `told` before all figures. `UserError` if the policy was tuned on another model than
    the one that is configured.
    """
    tuned = run.record("policy")
    assert tuned
    check_model(run, config, f"the policy of {run.folder.name}", tuned)
    made_from, settings = sources_of(run, tuned), tuned.basis.config
    model = resolve_model(config.model)
    base = config.export.base or published_name(model)
    tokenizer = load_tokenizer(model, settings.get("template", config.template))
    labels, reward_model = made_from.labels, made_from.reward
    card = model_card(
        base=base,
        note=note_of(model),
        license=config.export.license or license_of(model, base),
        snippet=load_snippet(base, ".", plain=is_plain(tokenizer), ends=undeclared_ends(model, tokenizer)),
        how=how_tuned(settings),
        labels=labels.figures if labels else None if made_from.judged else NO_LABELS,
        evaluation=read_json(evaluation) if evaluation else {},
        verdict=read_json(verdict) if verdict else None,
        told=told,
        reward=reward_model.figures if reward_model else {},
        settings={name: value for name, value in settings.items() if name not in _SAID_ELSEWHERE}
        | {"quantization": settings.get("quantization"), "seed": tuned.basis.seed, "round": run.round},
        provenance={
            "label set": _label_set(made_from),
            "reward model": made_from.reward_sha256 or "none",
            **provenance_of(model),
            "made by": f"rlhf-pipeline {tuned.versions['rlhf-pipeline']}",
        },
    )
    export_adapter(adapter, tokenizer, folder, card, base)
    write_json(folder / LINEAGE, lineage_of(run, tuned))


def how_tuned(settings: Mapping[str, Any]) -> str:
    """How the policy came about by the settings of its record, for its card: "tuned ..."."""
    if quantization := settings.get("quantization"):
        return f"{_by(settings)}, on its base quantised to {quantization} by bitsandbytes"
    return _by(settings)


def _by(settings: Mapping[str, Any]) -> str:
    if settings["algorithm"] in OFFLINE:
        return "by direct preference optimisation on pairwise judgements"
    rewards: Sequence[Mapping[str, Any]] = settings.get("rewards", [{"name": LEARNED}])
    learned = "a reward model of pairwise judgements" if any(each["name"] == LEARNED for each in rewards) else ""
    programmed = ", ".join(each.get("label") or each["name"] for each in rewards if each["name"] != LEARNED)
    towards = [learned, f"programmed rewards ({programmed})" if programmed else ""]
    return f"by policy gradients towards {' and '.join(each for each in towards if each)}"


def _label_set(made_from: Sources) -> str:
    if made_from.labels:
        return str(made_from.labels.basis.extra["label_set"])
    return "not known" if made_from.judged else "none"
