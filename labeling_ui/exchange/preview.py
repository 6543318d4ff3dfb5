"""Imported records as people read them, before anything is taken: prompt, responses, and what each person said."""

from collections.abc import Iterator, Mapping

from labeling_ui.data_model import Answer, Candidate, Prompt, Task
from labeling_ui.exchange.drafts import Draft

_LONGEST = 200


def preview(draft: Draft) -> Iterator[str]:
    """The lines that show a draft."""
    yield from preview_task(draft.line, draft.prompt, draft.candidates)
    places = {candidate.id: str(place) for place, candidate in enumerate(draft.candidates, start=1)}
    for said in draft.votes:
        program = " (simulated)" if said.simulated else ""
        yield f"  {said.annotator}{program}: {_worded(said.answer, places)}"
    if draft.task.gold:
        yield f"  known answer: {_worded(draft.task.gold, places)}"


def preview_task(
    line: int, prompt: Prompt, candidates: tuple[Candidate, ...], task: Task | None = None
) -> Iterator[str]:
    """The lines that show a prompt and its responses."""
    yield f"line {line}:"
    for message in prompt.messages:
        yield f"  {message['role']}: {_short(message['content'])}"
    for place, candidate in enumerate(candidates, start=1):
        by = candidate.source.get("model")
        yield f"  response {place}{f' (by {by})' if by else ''}: {_short(candidate.response)}"
    if task:
        yield "  waits for its judges"


def _worded(answer: Answer, places: Mapping[str, str]) -> str:
    said = {"tie": "both are equally good", "both_bad": "both are bad", "skip": "skips"}.get(answer.verdict, "")
    if answer.winner is not None:
        said = f"prefers response {places[answer.winner]}" + (
            f", strength {answer.strength}" if answer.strength else ""
        )
    elif answer.ranking:
        said = "ranks " + " > ".join(" = ".join(places[each] for each in group) for group in answer.ranking)
    elif answer.ratings:
        said = "rates " + ", ".join(
            f"{aspect} {score}" for aspect, given in answer.ratings.items() for score in given.values()
        )
    why = answer.rationale or answer.reason
    return f"{said} ({_short(why)})" if why else said


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 3]}..."
