"""The decision about a round's policy: whether it becomes the champion, by its verdict and its limits, or by hand.

What must be shown is in `champion/promotion.py`, the history in `champion/history.py`. A decision is one line that is
written whole: whoever is killed before it decides the same again, and whoever is killed after it finds it there.
"""

from pathlib import Path
from typing import Any

from rich.console import Console

from foundation.errors import UserError
from foundation.files import read_json, sha256_of
from pipeline.champion import history as past
from pipeline.champion import promotion
from pipeline.champion.history import BASE, Champion, Decision
from pipeline.config.config import Config
from pipeline.reporting.cautions import evaluation_of
from pipeline.runs.content import content_of
from pipeline.runs.folder import Run
from pipeline.runs.manifest import StageRecord


def promote(run: Run, config: Config, console: Console) -> Decision | None:
    """Decide about the round's policy, once; returns the decision, None without a verdict.

    What was decided stands until the verdict is another or a candidate that was kept is measured anew or by other
    limits. What was decided by hand in this round stands in any case. `UserError` if there is no policy.
    """
    run.artifact("policy")
    verdict_file = promotion.verdict_of(run)
    if verdict_file is None:
        if not _decided_by_hand(run):
            _tell(
                console,
                f"promote: no verdict says how {run.folder.name} compares with {past.current(run, config).name}, so "
                "nothing is promoted; the next round starts from the last policy.",
            )
        return None
    evaluation = evaluation_of(run)
    if evaluation is None:
        raise UserError(
            f"KL and length of this policy are not measured: run `rlhf evaluate --run {run.argument}` first."
        )
    limits = promotion.limits(config)
    basis = {"evaluation": sha256_of(evaluation), "limits": limits}
    before = _standing(run, sha256_of(verdict_file), basis)
    if before is not None:
        _tell(console, f"promote: already decided: {_said(before)}.")
        return before
    champion, verdict = past.current(run, config), read_json(verdict_file)
    objections = promotion.against(verdict, champion, run)
    if not objections:
        capability = _capability(run, config, console, champion, evaluation).figures
        objections = promotion.beyond(limits, read_json(evaluation), capability)
        reason = promotion.kept_to(verdict, read_json(evaluation), capability)
    kept = bool(objections)
    made = _decision(
        run, "kept" if kept else "promoted", "; ".join(objections) if kept else reason, by=verdict["by"],
        champion=champion if kept else _candidate(run), verdict=sha256_of(verdict_file), basis=basis,
    )  # fmt: skip
    past.append(run, made)
    _tell(console, f"promote: {_said(made)}.")
    return made


def promote_by_hand(run: Run, config: Config, console: Console, reason: str) -> Decision:
    """Make the round's policy champion whatever was measured; recorded as a decision by hand."""
    champion = past.found(run, *_named(_candidate(run)), config)
    made = _decision(run, "promoted", reason, by="hand", champion=champion)
    past.append(run, made)
    _tell(console, f"promote: by hand, {_said(made)}.")
    return made


def roll_back(run: Run, config: Config, console: Console, to: str | None, reason: str) -> Decision:
    """Make an earlier champion (by default the one before) the champion again; recorded with its reason.

    The one before is the one that the present champion replaced: what was taken back since is not gone back to.
    """
    decided = past.history(run)
    if not decided:
        raise UserError(f"{run.path} has no champion but its base: there is nothing to go back from.")
    now = (decided[-1].champion, decided[-1].sha256)
    earlier = list(dict.fromkeys([(BASE, None), *((each.champion, each.sha256) for each in decided)]))
    others = [each for each in earlier if each != now]
    chosen = [each for each in others if each[0] == to] if to else past.before(decided)
    if not chosen:
        names = ", ".join(dict.fromkeys(name for name, _ in others)) or "none"
        if to is None:
            raise UserError(
                f"the champion of {run.path} is its base: there is nothing to go back from. `--to` names another of "
                f"its champions: {names}."
            )
        raise UserError(f"{to} was no earlier champion of {run.path}. Earlier champions: {names}.")
    champion = past.found(run, *chosen[-1], config)
    made = _decision(run, "rolled_back", reason, by="hand", champion=champion, candidate=now)
    past.append(run, made)
    _tell(console, f"rollback: the champion is {champion.name} again, and no longer {now[0]}: {reason}.")
    return made


def _capability(run: Run, config: Config, console: Console, champion: Champion, evaluation: Path) -> StageRecord:
    """capability.json: what the candidate kept of the champion's likelihood and form."""
    candidate = run.artifact("policy")

    def produce(folder: Path) -> dict[str, Any]:
        from pipeline.evaluation.capability import compare_with_champion

        return compare_with_champion(
            config, console, folder, candidate=candidate, champion=champion.adapter, evaluation=evaluation
        )

    inputs = [candidate, evaluation, *([champion.adapter] if champion.adapter else [])]
    settings = {**config.base, "dtype": config.dtype, "sampling": config.evaluate.sampling.model_dump(mode="json")}
    return run.stage("capability", "capability.json", inputs, settings, produce, content=content_of(run, config))


def _standing(run: Run, verdict: str, basis: dict[str, Any]) -> Decision | None:
    """The decision that stands about this candidate, if there is one."""
    decided, sha256 = past.history(run), _candidate(run).sha256
    if _decided_by_hand(run):
        return decided[-1]
    own = next((each for each in reversed(decided) if each.candidate_sha256 == sha256), None)
    if own is None or own.verdict != verdict:
        return None
    return own if own.action == "promoted" or own.basis == basis else None


def _decided_by_hand(run: Run) -> bool:
    decided = past.history(run)
    return bool(decided) and decided[-1].by == "hand" and decided[-1].round == run.round


def _candidate(run: Run) -> Champion:
    folder, record = run.artifact("policy"), run.record("policy")
    if record is None:
        raise UserError(f"{folder} was not made by this run: `rlhf policy --run {run.argument}` makes one.")
    return Champion(run.folder.name, folder, record.output_sha256)


def _named(champion: Champion) -> tuple[str, str | None]:
    return champion.name, champion.sha256


def _decision(
    run: Run, action: Any, reason: str, *, by: Any, champion: Champion, candidate: tuple[str, str | None] | None = None,
    verdict: str | None = None, basis: dict[str, Any] | None = None,
) -> Decision:  # fmt: skip
    about = candidate or _named(_candidate(run))
    return Decision(
        at=past.now(), action=action, round=run.round, candidate=about[0], candidate_sha256=about[1],
        champion=champion.name, sha256=champion.sha256, weights=past.weights_of(champion), reason=reason,
        verdict=verdict, by=by, basis=basis or {},
    )  # fmt: skip


def _said(decision: Decision) -> str:
    if decision.action == "promoted":
        return f"{decision.champion} is the champion: {decision.reason}"
    if decision.action == "rolled_back":
        return f"the champion is {decision.champion} again: {decision.reason}"
    return f"{decision.candidate} is kept, and {decision.champion} stays the champion: {decision.reason}"


def _tell(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
