"""What there is of a run, as far as its next step depends on it. Nothing is made, and no lock is taken."""

from collections.abc import Mapping
from typing import NamedTuple

from foundation.errors import UserError
from foundation.files import Row, read_json
from pipeline.champion import history as past
from pipeline.champion import promotion
from pipeline.champion.history import Decision
from pipeline.config.config import Config
from pipeline.preflight.reward_gate import is_weak
from pipeline.runs.folder import Run
from pipeline.runs.label_store import has_labels, label_store
from pipeline.runs.manifest import StageRecord


class Labels(NamedTuple):
    """What the label store holds for training; `open` judgements are still lacking."""

    tasks: int = 0
    judgements: int = 0
    simulated: bool = False
    open: int = 0


class Facts(NamedTuple):
    """What the next step depends on, of the run at its latest round."""

    run: Run
    config: Config
    labels: Labels
    made: Mapping[str, StageRecord]
    running: str | None
    """The command that works on the run at this moment."""
    unfinished: str | None
    """The stage that began and has not ended."""
    verdict: Row | None
    """The verdict on the present policy, open or decided; None if there is none."""
    decision: Decision | None
    """What was decided about the present policy, or by hand in this round."""
    new_labels: bool
    """Whether the round's reward model is weak, and the labels are others than those that it was trained on."""
    broken: str
    """Why the champion cannot be used, or nothing."""

    @property
    def people(self) -> bool:
        """Whether judgements are needed."""
        return self.config.learned_reward or self.config.offline or self.labels.judgements > 0

    def command(self, name: str, *options: str, simulate: bool = False) -> str:
        """The command line that works on this run; with `simulate`, as its judgements came about so far."""
        more = ("--simulate",) if simulate and self.labels.simulated else ()
        return " ".join(("rlhf", name, *options, "--run", self.run.argument, *more))


def facts_of(run: Run, config: Config) -> Facts:
    """Read what is there."""
    made, holder = run.manifest().stages, run.lock.holder()
    try:
        broken = ""
        past.current(run, config)
    except UserError as error:
        broken = str(error)
    return Facts(
        run, config, _labels(run, config), made, running=holder, unfinished=_unfinished(run),
        verdict=_verdict(run, config), decision=_decision(run, made.get("policy")), broken=broken,
        new_labels=_new_labels(run, config),
    )  # fmt: skip


def _labels(run: Run, config: Config) -> Labels:
    if not has_labels(run, config):
        return Labels()
    with label_store(run, config) as store:
        counts = store.counts()
        lacking = store.waiting()
    simulated = counts.simulated_judgements == counts.judgements > 0
    return Labels(counts.tasks, counts.judgements, simulated, lacking)


def _new_labels(run: Run, config: Config) -> bool:
    manifest = run.manifest()
    reward = manifest.stages.get("reward")
    if reward is None or not is_weak(reward, config) or not has_labels(run, config):
        return False
    with label_store(run, config) as store:
        now = store.label_set_hash()
    learned = {
        each.name
        for each in (*manifest.superseded, *manifest.stages.values())
        if each.basis.extra.get("label_set") == now and each.output_sha256 in reward.basis.inputs.values()
    }
    return learned != {"preferences", "other_labels"}


def _unfinished(run: Run) -> str | None:
    """The stage whose partial folder an attempt left, or is filling."""
    for journal in sorted(run.folder.glob(".*.journal.json")):
        if journal.with_name(journal.name.replace(".journal.json", ".partial")).is_dir():
            return str(read_json(journal)["basis"]["stage"])
    return None


def _verdict(run: Run, config: Config) -> Row | None:
    if path := promotion.verdict_of(run):
        return dict(read_json(path))
    if not (run.folder / "verdict-pairs.jsonl").exists():
        return None
    from pipeline.verdict.deciding import open_verdict

    return open_verdict(run, config)


def _decision(run: Run, policy: StageRecord | None) -> Decision | None:
    decided = past.history(run)
    if decided and decided[-1].by == "hand" and decided[-1].round == run.round:
        return decided[-1]
    sha256 = policy.output_sha256 if policy else None
    return next((each for each in reversed(decided) if each.is_about(sha256)), None)
