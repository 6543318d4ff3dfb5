"""Files of judgements, and of responses that nobody has judged, into a run's label store; and what is said meanwhile.

What a file was taken for is printed before anything is stored, and in a dry run nothing is. Reading files is left to
`labeling_ui/exchange`. Tasks of unjudged responses are made as those of sampled ones are (`collection/candidates.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from backbone.loading.model_name import check_name
from foundation.errors import UserError
from foundation.files import Row, write_jsonl
from labeling_ui.data_model import Candidate, Prompt, Task
from labeling_ui.exchange.answer_file import is_answer_file, take_answer_file
from labeling_ui.exchange.importers.judged_items import Refusal
from labeling_ui.exchange.importers.layout import Wishes
from labeling_ui.exchange.importers.registry import UNJUDGED
from labeling_ui.exchange.importers.rows import open_source
from labeling_ui.exchange.imports import ImportReport, Survey, campaign_in, survey_file, take
from labeling_ui.exchange.preview import preview, preview_task
from pipeline.collection.candidates import tasks_of
from pipeline.config.config import Config
from pipeline.runs.folder import Run
from pipeline.runs.label_store import has_labels, label_store

_REFUSALS = 10  # shown
_RECORDS = 3  # shown by a dry run


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the user says of a file; `rlhf import --help` says what each option means."""

    format: str
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    question: str | None = None
    scale: int | None = None
    submitted: bool = False
    gold: bool = False
    simulated: bool = False
    dry_run: bool = False
    report: Path | None = None


def columns_of(given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """`prompt=instruction,input` as the columns in which a field is found; `UserError` if it is not of that form."""
    columns: dict[str, tuple[str, ...]] = {}
    for each in given:
        to, _, names = each.partition("=")
        found = tuple(name.strip() for name in names.split(","))
        if not to.strip() or not all(found):
            raise UserError(f"--map {each}: expected FIELD=COLUMN, as in --map prompt=instruction.")
        if to.strip() in columns:
            raise UserError(f"--map {each}: {to.strip()} is mapped twice. Join columns as in {to.strip()}=one,other.")
        columns[to.strip()] = found
    return columns


def import_judgements(run: Run, config: Config, console: Console, file: str, options: ImportOptions) -> ImportReport:
    """Bring a file's judgements, or unjudged responses, into the run's campaign; `UserError` if nothing is taken."""
    if not run.config_file.exists():
        check_name(config.model)  # the run that begins here keeps it for its stages
    what = "tasks" if options.format == UNJUDGED else "gold tasks" if options.gold else "judgements"
    if options.format == "answers" and is_answer_file(file):
        done = _take_answers(run, config, file, options)
    else:
        survey = _survey(run, config, file, options)
        rows = survey.layout.rows
        _say(console, f"import: {survey.layout.file} holds {rows} {'record' if rows == 1 else 'records'}.")
        for line in survey.layout.lines():
            _say(console, f"  {line}")
        if options.format == UNJUDGED:
            done = _import_responses(run, config, console, survey, options.dry_run)
        else:
            done = _rehearse(console, survey) if options.dry_run else _take(run, config, survey)
    there = "would be taken" if options.dry_run else f"taken, {done.already_there} were there already"
    _say(console, f"import: {done.taken} {what} {there}; {len(done.refused)} refused.")
    for refusal in done.refused[:_REFUSALS]:
        _say(console, f"  line {refusal.line}: {refusal.reason}")
    if len(done.refused) > _REFUSALS:
        _say(console, f"  ... and {len(done.refused) - _REFUSALS} more refused; `--report FILE` writes them all.")
    if options.report:
        write_jsonl(options.report, ({"line": refusal.line, "reason": refusal.reason} for refusal in done.refused))
    if not done.taken and not done.already_there:
        raise UserError(f"nothing of {file} was taken: the lines above say why.")
    if options.dry_run:
        _say(console, "import: nothing was stored, for this is a dry run.")
    return done


def _take_answers(run: Run, config: Config, file: str, options: ImportOptions) -> ImportReport:
    """Take in an export of answers, whole."""
    if options != ImportOptions(options.format, dry_run=options.dry_run, report=options.report):
        raise UserError(
            f"{file} is an export of answers, and says itself what they are: import it without --gold, --map, "
            "--question, --scale, --submitted and --simulated."
        )
    if options.dry_run:
        return ImportReport(sum(1 for _ in open_source(file).read()), 0, [])
    with label_store(run, config) as store:
        return ImportReport(*take_answer_file(store, file))


def _survey(run: Run, config: Config, file: str, options: ImportOptions) -> Survey:
    campaign = config.label.campaign
    if has_labels(run, config):
        with label_store(run, config) as store:
            campaign = campaign_in(store, campaign)
    wishes = Wishes(campaign, options.columns, options.question, options.scale, options.submitted)
    return survey_file(options.format, file, wishes, gold=options.gold, simulated=options.simulated)


def _take(run: Run, config: Config, survey: Survey) -> ImportReport:
    with label_store(run, config) as store:
        return take(store, survey)


def _rehearse(console: Console, survey: Survey) -> ImportReport:
    """Show the first records as they would be taken, and count all."""
    taken, records = 0, 0
    refused: list[Refusal] = []
    for each in survey.drafts():
        if isinstance(each, Refusal):
            refused.append(each)
            continue
        taken += 1 if survey.gold else len(each.votes)
        records += 1
        if records <= _RECORDS:
            for line in preview(each):
                _say(console, f"  {line}")
    return ImportReport(taken, 0, sorted(refused, key=lambda refusal: refusal.line))


@dataclass(frozen=True, slots=True)
class _Responses:
    """The responses of a file by their prompts, and the tasks that can be made of them."""

    prompts: dict[str, tuple[int, Prompt]]
    candidates: list[Candidate]
    tasks: list[Task]
    refused: list[Refusal]

    def shown(self) -> Iterator[str]:
        """The first tasks, for a dry run."""
        by_id = {candidate.id: candidate for candidate in self.candidates}
        for task in self.tasks[:_RECORDS]:
            line, prompt = self.prompts[task.prompt_id]
            yield from preview_task(line, prompt, tuple(by_id[each] for each in task.candidates), task)


def _import_responses(run: Run, config: Config, console: Console, survey: Survey, dry_run: bool) -> ImportReport:
    """Make tasks of the responses to each prompt, and let them wait for their judges."""
    campaign, version = survey.layout.wishes.campaign, 1
    if has_labels(run, config):
        with label_store(run, config) as store:
            version = store.version(campaign.name)
    found = _responses(config, survey, version)
    if dry_run or not found.tasks:
        for line in found.shown():
            _say(console, f"  {line}")
        return ImportReport(len(found.tasks), 0, found.refused)
    asked = {task.prompt_id for task in found.tasks}
    with label_store(run, config) as store:
        fresh = store.add_tasks(
            found.tasks,
            campaign=campaign,
            prompts=[prompt for prompt_id, (_, prompt) in found.prompts.items() if prompt_id in asked],
            candidates=[candidate for candidate in found.candidates if candidate.prompt_id in asked],
        )
    return ImportReport(fresh, len(found.tasks) - fresh, found.refused)


def _responses(config: Config, survey: Survey, version: int) -> _Responses:
    refused: list[Refusal] = []
    prompts: dict[str, tuple[int, Prompt]] = {}
    rows: list[Row] = []
    for each in survey.items():
        if isinstance(each, Refusal):
            refused.append(each)
            continue
        line, item = each
        prompt = Prompt(item.prompt)
        prompts.setdefault(prompt.id, (line, prompt))
        rows += [
            {"prompt_id": prompt.id, "response": response, "source": dict(source)}
            for response, source in zip(item.responses, item.sources, strict=True)
        ]
    campaign = survey.layout.wishes.campaign
    candidates, tasks = tasks_of(rows, config.collect.pairs_per_prompt, config.seed, campaign, version)
    without = prompts.keys() - {task.prompt_id for task in tasks}
    refused += [Refusal(prompts[each][0], "there are not two different responses to this prompt") for each in without]
    return _Responses(prompts, candidates, tasks, sorted(refused, key=lambda refusal: refusal.line))


def _say(console: Console, line: str) -> None:
    """Print a line, which may quote the file."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in line)
    console.print(printable, markup=False, highlight=False, soft_wrap=True)
