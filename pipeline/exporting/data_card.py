"""The data card of a published label set: its files and fields, who judged, how far they agree, what weights mean."""

from collections.abc import Mapping

from backbone.publishing.cards import front_matter

_FIELDS = {
    "preferences": "pairs: `prompt`, `chosen`, `rejected`, `weight`, `p_chosen`, `p_tie`, `p_both_bad`, `posterior`",
    "ties": "the same, of responses that are found equal",
    "soft": "the same, of pairs that people split on",
    "orders": "whole rankings: `prompt`, `responses`, `ranks` (1 is the best), `weight`",
    "ratings": "`prompt`, `response`, `aspect`, `score`, `scale`, `weight`",
}
_TASKS = {
    "pairwise": "which of two responses is better",
    "ranking": "to rank several responses",
    "rating": "to rate single responses",
}


def data_card(
    rows: Mapping[str, int],
    people: int,
    simulated: int,
    license: str,
    asked: Mapping[tuple[str, str], int],
    alpha: float | None,
) -> str:
    """The card as text. `rows` counts those of each kind; `people` and `simulated` annotators made them.

    `asked` are the kinds of judgement with the instructions above them, and how many judgements were given under each;
    `alpha` is how far annotators agree (Krippendorff), None if no task was judged by two.
    """
    head = front_matter(
        "",
        license=license,
        task_categories=["text-generation"],
        tags=["human-feedback", "preferences", "rlhf"] if not simulated else ["preferences", "rlhf", "simulated"],
        configs=[{"config_name": kind, "data_files": f"{kind}.jsonl"} for kind in rows],
    )
    notice = (
        f"> **{simulated} of {people + simulated} annotators are simulated,** with a known, programmed preference. "
        "Their rows have `simulated: true`, and say nothing about what people prefer.\n\n"
        if simulated
        else ""
    )
    files = "".join(f"| `{kind}.jsonl` | {number} | {_FIELDS[kind]} |\n" for kind, number in rows.items())
    agreed = "not known: no task was judged by two" if alpha is None else f"{alpha:.3f}"
    return f"""\
{head}
# Preferences

{notice}Judgements of responses of language models, in TRL's formats. {_asked(asked)}

| file | rows | fields |
|---|---|---|
{files}
| | |
|---|---|
| people who judged | {people} |
| simulated annotators | {simulated} |
| agreement (Krippendorff's alpha; 1 is perfect, 0 is chance) | {agreed} |

## What a row means

- `annotators` (or `annotator`) are random ids that say nothing of a person. Names, addresses, times and what annotators
  wrote as reasons are not in this data set; rewrites of a response, which are `chosen` rows, are.
- A vote counts with its annotator's weight: 1 on average, more for who is found more reliable. `weight` is the sum over
  the votes, `p_chosen` the weighted share for the chosen response, a tie or both bad being half a vote for each.
- A pair is decided if more people say one thing of it than any other, and by their weights it is at least twice as
  likely.
- Verdicts on policies, tasks whose answer is known, and tasks that were shown again are left out.
"""


def _asked(asked: Mapping[tuple[str, str], int]) -> str:
    """What annotators were asked: a sentence, or a list where it was changed, or where there are several campaigns."""
    said = {question: _question(*question) for question in asked}
    if len(said) == 1:
        return f"Annotators were asked {next(iter(said.values()))}"
    lines = "".join(f"\n- {question} ({asked[which]} judgements)" for which, question in said.items())
    return f"Annotators were asked, one after another or in campaigns of their own:\n{lines}"


def _question(kind: str, instructions: str) -> str:
    words = " ".join(instructions.split()).replace("`", "'").replace("<", "&lt;")
    return f'{_TASKS[kind]}: "{words}"' if words else f"{_TASKS[kind]}, without further instructions."
