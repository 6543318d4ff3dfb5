"""Importing rows into a store twice over, and reading what was said in the words of the responses."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Answer
from labeling_ui.exchange import imports
from labeling_ui.exchange.importers.judged_items import Refusal
from labeling_ui.exchange.importers.layout import Wishes
from labeling_ui.exchange.imports import ImportReport, campaign_in, survey_file
from labeling_ui.store.store import Store

PAIRS = Campaign()
RANKING = Campaign(name="ranking", kind="ranking")
RATING = Campaign(name="rating", kind="rating", aspects=("helpful", "rating"), scale=5)
TWO = {"instruction": "Why?", "response-1": "Rain.", "response-2": "Sun."}
THREE = {"prompt": "Why?", "response1": "Rain.", "response2": "Sun.", "response3": "Wind."}


def take(
    store: Store, format: str, rows: list[Any], campaign: Campaign = PAIRS, gold: bool = False, **wishes: Any
) -> ImportReport:
    """Import rows, as JSON Lines and then as one JSON array, which must add nothing."""
    path = Path(store.database.name).parent / "file"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    report = take_file(store, format, path, campaign, gold=gold, **wishes)
    path.write_text("\ufeff" + json.dumps(rows, indent=2), encoding="utf-8")
    again = take_file(store, format, path, campaign, gold=gold, **wishes)
    assert (again.taken, again.refused) == (0, report.refused)
    return report


def take_file(
    store: Store, format: str, path: Path, campaign: Campaign = PAIRS, gold: bool = False, **wishes: Any
) -> ImportReport:
    """Import a file, with what the user says of it."""
    said = Wishes(campaign_in(store, campaign), **wishes)
    return imports.take(store, survey_file(format, path, said, gold=gold))


def drafted(
    format: str, rows: list[Any] | Path, campaign: Campaign = PAIRS, **wishes: Any
) -> tuple[list[tuple[str, str]], list[str]]:
    """What a file says, in words, without a store: who says what of the responses, and what is refused."""
    votes, refused = [], []
    with written(rows) as path:
        for each in survey_file(format, path, Wishes(campaign, **wishes)).drafts():
            if isinstance(each, Refusal):
                refused.append(f"{each.line}: {each.reason}")
            else:
                texts = {candidate.id: candidate.response for candidate in each.candidates}
                votes += [(vote.annotator, in_words(vote.answer, texts)) for vote in each.votes]
    return votes, refused


@contextmanager
def written(rows: list[Any] | Path) -> Iterator[Path]:
    """Rows as JSON Lines, or a file that is there already."""
    if isinstance(rows, Path):
        yield rows
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        yield path


def in_words(answer: Answer, texts: Mapping[str, str]) -> str:
    """An answer with the texts of the responses instead of their ids."""
    words = {"preferred": texts.get(answer.winner or "", ""), "ranked": "", "rated": ""}.get(
        answer.verdict, answer.verdict
    )
    words += " > ".join(" = ".join(sorted(texts[each] for each in group)) for group in answer.ranking)
    words += ", ".join(f"{name} {score}" for name, given in answer.ratings.items() for score in given.values())
    return f"{words}{answer.strength or ''}" + (f" ({answer.rationale})" if answer.rationale else "")


def said(store: Store) -> dict[str, Answer]:
    """What each annotator said, in the words of the responses instead of ids."""
    texts = {candidate.id: candidate.response for candidate in store.candidates()}
    names = {annotator.id: annotator.name for annotator in store.annotators()}

    def worded(answer: Answer) -> Answer:
        return Answer(
            answer.verdict,
            winner=texts[answer.winner] if answer.winner else None,
            strength=answer.strength,
            ranking=tuple(tuple(sorted(texts[each] for each in group)) for group in answer.ranking),
            ratings={
                aspect: {texts[each]: score for each, score in given.items()}
                for aspect, given in answer.ratings.items()
            },
            reason=answer.reason,
            rationale=answer.rationale,
        )

    return {names[judgement.annotator_id]: worded(judgement.answer) for judgement in store.judgements()}


def reasons(report: ImportReport) -> list[tuple[int, str]]:
    return [(refusal.line, refusal.reason) for refusal in report.refused]


def own(answer: dict[str, Any], *responses: str, **more: Any) -> dict[str, Any]:
    return {"prompt": "Why?", "responses": list(responses or ("Rain.", "Sun.")), "answer": answer, **more}


def battle(winner: str, question: str = "q1", **more: Any) -> dict[str, Any]:
    def talk(reply: str) -> list[dict[str, Any]]:
        return [{"role": "user", "content": f"Why {question}?"}, {"role": "assistant", "content": reply}]

    return {
        "question_id": question, "model_a": "llama", "model_b": "vicuna", "winner": winner, "judge": "arena_user_1",
        "conversation_a": talk("Rain."), "conversation_b": talk("Sun."), "turn": 1, "anony": True,
        "language": "English", "tstamp": 1.7e9, **more,
    }  # fmt: skip
