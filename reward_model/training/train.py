"""Labels to a reward model: a LoRA adapter and a score head on the base model, as an ordinary PEFT folder.

The adapter is trained in `fit_adapter.py`; what a probe of the base makes of the labels is in `evaluation/probe.py`.
Training resumes after a kill, stops on NaN, and ends with figures on held-out prompts, beside baselines. Where labels
come from and where the folder lies is decided by the pipeline.
"""

import gc
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from backbone.hidden_states import probed_block
from backbone.loading.settings import Quantization
from backbone.templates.plain_text import TemplateChoice
from backbone.training.quiet_libraries import quiet
from foundation.files import content_id, sha256_of, write_json
from reward_model.bag_of_words import BagOfWords
from reward_model.chat_template import closed
from reward_model.config import RewardConfig
from reward_model.evaluation import probe as probing
from reward_model.evaluation.accuracy import credit, share
from reward_model.evaluation.evaluate import held_out_figures, reliabilities
from reward_model.evaluation.gate import gate, of_first_prompts
from reward_model.evaluation.learning_curve import LearningCurve, half_labels
from reward_model.evaluation.probe import PairStates
from reward_model.evaluation.score_differences import Measured, measure
from reward_model.frozen_states import save_probe
from reward_model.held_out_judge import fit_held_out_judge
from reward_model.labels.records import OVERALL, Pair, Row
from reward_model.labels.selection import Selection, select
from reward_model.labels.splits import say_trained_on
from reward_model.model_card import write_card
from reward_model.reward_folder import FIGURES, WORDS
from reward_model.scorer import RewardScorer
from reward_model.training.checkpoints import prepare_checkpoints
from reward_model.training.fit_adapter import CHECKPOINTS, fit_adapter, write_head_alone
from reward_model.training.initial import InitialReward
from reward_model.training.posterior import computed_for, fit_posterior
from reward_model.training.processes import Processes

_MOST = 400  # held-out pairs, and others, that the learning curve and the second judge are made of
_FEWEST = 8  # pairs to learn from and to choose by, for a probe beside an adapter


def train_reward(
    config: RewardConfig,
    model: str,
    rows: Sequence[Row],
    folder: Path,
    *,
    seed: int = 0,
    dtype: str = "auto",
    device: str = "auto",
    template: TemplateChoice = "auto",
    quantization: Quantization | None = None,
    held_out: Sequence[Row] | None = None,
    on_step: Callable[[Row], None] = lambda row: None,
) -> dict[str, Any]:
    """Train on `rows`, write the reward folder to `folder`, and return the figures on held-out prompts.

    `figures["reward_model"]` says what gives the score by `config.learn`: "adapter" or "probe". The folder holds an
    adapter in any case; with `learn="probe"` it changes nothing, and its head is on the base's last state.

    `rows` are labels of any kind (`labels/reading.py`). `folder` is empty, or holds the checkpoints of a killed call:
    the same call then resumes from the last whole one. `held_out` rows replace the split by conversation. `on_step` is
    told `step`, `steps` and `loss`. `UserError` if there is nothing to learn from or to measure on, or if the loss is
    not a number.

    Several processes of one launcher train together (`processes.py`); what follows is the main one's, and the others
    return no figures.
    """
    processes = Processes.launched()
    if processes.device is not None and device == "auto":
        device = str(processes.device)
    began = time.monotonic()
    labels = select(config, rows, seed, held_out)
    adapted, probed = _asked_for(config, labels)
    initial = InitialReward.read(config.initial) if config.initial else None
    base = processes.load_base(model, dtype, device, template, quantization)
    longest = min(config.max_length, base.renderer.max_length)
    computed = (str(base.base.dtype), quantization)
    basis = content_id(
        config.model_dump(mode="json"), initial and sha256_of(initial.folder), base.name, template, seed, computed,
        [repr(label) for label in labels.train],
    )  # fmt: skip
    if processes.is_main:
        prepare_checkpoints(folder / CHECKPOINTS, basis)
    fitted = None
    if adapted:
        with quiet(), processes.each_alone():
            fitted = fit_adapter(config, base, longest, labels, folder, seed, on_step, processes, initial)
    with processes.to_measure_in(folder, CHECKPOINTS) as measured_in:
        if measured_in is None:
            return {}
        folder = measured_in
        closed(base.tokenizer).save_pretrained(folder)
        name, trained_in = base.name, str(base.base.dtype).removeprefix("torch.")
        words = BagOfWords.fit(labels.pairs)
        words.save(folder / WORDS)
        trained = time.monotonic()
        test = labels.test if probed else of_first_prompts(labels.test, _MOST)
        learned = of_first_prompts(labels.pairs, probing.MOST if probed else _MOST)
        on_batch = _measuring(on_step, labels, [*test, *learned], adapted)
        scorer = RewardScorer(base, None, longest)
        if adapted:
            del base, scorer
            gc.collect()  # the trainer and its model refer to each other: without, two bases are in memory from here on
            again = processes.load_base(name, dtype, device, template, quantization) if processes.sharded else None
            scorer = RewardScorer.load(folder, again, dtype=dtype, device=device, quantization=quantization)
            scorer = replace(scorer, max_length=longest, on_batch=on_batch)
        some = [*of_first_prompts(test, _MOST), *of_first_prompts(learned, _MOST)]
        states = PairStates.of(scorer.base, [*test, *learned], longest, on_batch, final_of=some)
        known = states.first(len(test)), states.rest(len(test))
        block = probed_block(scorer.base)
        measured = measure(scorer, labels.test) if adapted else None
        chosen = _choose(scorer, labels, measured, known if probed else None)
        scorer = chosen.scorer
        if fitted is None:
            trained = time.monotonic()
            some_learned = known[1].of_first(_MOST)
            head = probing.fit_head(some_learned.final, some_learned.pairs)
            fitted = write_head_alone(scorer.base, folder, head)
        before = time.monotonic()
        if (probe := scorer.probe) is not None:
            save_probe(folder, probe)
        posterior = fit_posterior(scorer, labels.pairs) if probe is None else probing.fit_posterior(known[1], probe)
        if posterior:
            posterior.save(folder)
        scorer = replace(scorer, posterior=posterior)
        result = {
            **chosen.figures,
            **_figures(chosen._replace(scorer=scorer), labels, words, known, folder),
            "cut_pairs": fitted.cut,
            "probed_block": block,
            "length_effect": fitted.length_effect,
            "steps": fitted.steps,
            "seconds": round(trained - began, 1),
            "uncertainty_seconds": round(time.monotonic() - before, 1),
        }
        halves = result.pop("learning_curve")
        write_json(
            folder / FIGURES,
            {**result, "max_length": longest, "dtype": trained_in, "quantization": quantization, "seed": seed,
             "aspects": fitted.aspects, "checks": fitted.checks, "best_step": fitted.best_step,
             "learning_curve": halves,
             **reliabilities(labels.test, chosen.measured.differences), "log": fitted.log},
        )  # fmt: skip
        simulated = sum(bool(row.get("simulated")) for row in rows)
        settings = config.model_dump(mode="json") | {"seed": seed}
        say_trained_on(folder, (*labels.train, *labels.validation), config.initial)
        write_card(folder, name, fitted.decoder, result, settings, simulated, quantization)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=not processes.is_main)
    return result if processes.is_main else {}


def _asked_for(config: RewardConfig, labels: Selection) -> tuple[bool, bool]:
    """Whether an adapter is trained, and whether a probe is fitted.

    By `learn="auto"` it is both, unless the labels or the settings ask for what only an adapter has: aspects, several
    members, a beginning, a score without length; or there are too few labels to choose by.
    """
    if config.learn != "auto":
        return config.learn == "adapter", config.learn == "probe"
    plain = config.ensemble == 1 and config.initial is None and config.length_debias == 0
    aspects = any(label.aspect != OVERALL for label in labels.train)
    return True, plain and not aspects and min(len(labels.pairs), len(labels.test)) >= _FEWEST


class _Chosen(NamedTuple):
    """What gives the score, what it says of the held-out pairs, and the figures of all that was learned.

    `differences` (pairs,) are those that accuracy and gate are about: see `probe.picked`.
    """

    scorer: RewardScorer
    measured: Measured
    figures: dict[str, Any]
    differences: np.ndarray


def _choose(
    scorer: RewardScorer, labels: Selection, measured: Measured | None, known: tuple[PairStates, PairStates] | None
) -> _Chosen:
    """Of an adapter that has `measured` the held-out pairs, and a probe, for which the states of these and of training
    pairs are `known`, the one under which held-out labels are likelier.
    """
    if known is None:
        assert measured is not None
        return _Chosen(scorer, measured, {"reward_model": "adapter"}, measured.differences)
    held_out, learned = known
    probe = probing.fit_head(learned.probed, learned.pairs)
    found = held_out.measured(probe)
    by_probe = replace(scorer, name=None, probe=probe, aspects={})
    figures: dict[str, Any] = {"reward_model": "probe"} | _likelihood("probe", found, labels.test)
    if measured is None:
        return _Chosen(by_probe, found, figures, found.differences)
    figures |= _likelihood("adapter", measured, labels.test)
    differences = probing.picked(found.differences, measured.differences, labels.test)
    if figures["probe_likelihood"] >= figures["adapter_likelihood"]:
        return _Chosen(by_probe, found, figures, differences)
    return _Chosen(scorer, measured, figures | {"reward_model": "adapter"}, differences)


def _likelihood(which: str, measured: Measured, pairs: Sequence[Pair]) -> dict[str, float]:
    return {
        f"{which}_likelihood": probing.log_likelihood(measured.differences, pairs),
        f"{which}_accuracy": float(credit(measured.differences).mean()),
    }


def _figures(
    chosen: _Chosen,
    labels: Selection,
    words: BagOfWords,
    known: tuple[PairStates, PairStates],
    folder: Path,
) -> dict[str, Any]:
    """How good it is on held-out pairs; writes the second judge. `known` are states of those and of training pairs."""
    held_out, learned = known
    judging, others = held_out.of_first(_MOST), learned.of_first(_MOST)
    both = PairStates([*judging.pairs, *others.pairs], torch.cat([judging.states, others.states]))
    final = both.differences(both.final)
    everything = PairStates([*held_out.pairs, *learned.pairs], torch.cat([held_out.states, learned.states]))
    result = {
        **held_out_figures(chosen.scorer, labels.test, chosen.measured, words),
        **share(credit(chosen.differences), [pair.conversation_key for pair in labels.test]),
        **gate(labels.test, chosen.differences, words, everything.pairs, everything.differences(everything.probed)),
        **fit_held_out_judge(judging.pairs, others.pairs, final, folder),
        **labels.counts(),
        "margins": any(pair.margin for pair in labels.pairs),
    }  # fmt: skip
    if halves := half_labels(final, [pair.conversation_key for pair in both.pairs]):
        halves["pairs"] = len(labels.pairs)
        curve = LearningCurve.of_model(halves["half"], result, halves["pairs"])
        result["doubled"] = [round(each, 4) for each in curve.accuracy(2 * halves["pairs"])]
    return result | {"learning_curve": halves}


def _measuring(
    on_step: Callable[[Row], None], labels: Selection, pairs: Sequence[Pair], adapted: bool
) -> Callable[[int], None]:
    """Tell how many of the responses have been read by then: minutes, with many labels.

    `pairs` are those whose states are computed; an adapter reads the held-out ones, and some for its posterior.
    """
    responses = _responses(pairs)
    if adapted:
        responses += 2 * len(labels.test) + _responses(computed_for(labels.pairs))
    done = 0

    def on_batch(count: int) -> None:
        nonlocal done
        done = min(done + count, responses)
        on_step({"phase": "measure", "step": done, "steps": responses})

    return on_batch


def _responses(pairs: Sequence[Pair]) -> int:
    return len({(pair.prompt_key, text) for pair in pairs for text in pair.responses})
