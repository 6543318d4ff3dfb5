"""What the quality report counts: on plain records, with figures worked by hand."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Annotator, Answer, Judgement, Task
from labeling_ui.quality import assessment
from labeling_ui.quality.assessment import AnnotatorQuality
from labeling_ui.quality.label_reader import Labels

CAMPAIGNS = {name: Campaign(name=name) for name in ("main", "other")}


def tasks(number: int, candidates: str = "ab", **more: object) -> list[Task]:
    """Tasks with the candidates "0a", "0b", then "1a", "1b", and so on."""
    return [Task(f"p{n}", tuple(f"{n}{c}" for c in candidates), **more) for n in range(number)]  # type: ignore[arg-type]


def answer(task: Task, said: str, strength: int | None = None) -> Answer:
    if said in "ab":
        return Answer("preferred", winner=task.candidates["ab".index(said)], strength=strength)
    return Answer({"t": "tie", "x": "both_bad", "-": "skip"}[said])  # type: ignore[arg-type]


def judged(
    task: Task,
    name: str,
    said: str | Answer,
    *,
    left: str = "a",
    seconds: float | None = None,
    strength: int | None = None,
) -> Judgement:
    """`said` by a letter (a, b, tie, x for both bad, - for skip), with the response `left` on the left."""
    shown = task.candidates if left == "a" else task.candidates[::-1]
    given = answer(task, said, strength) if isinstance(said, str) else said
    return Judgement(task.id, name, shown, given, seconds)


def labels(judgements: Sequence[Judgement], *given: Task) -> Labels:
    names = sorted({judgement.annotator_id for judgement in judgements})
    people = [Annotator(name, name, simulated=name.startswith("robot")) for name in names]
    return Labels(CAMPAIGNS, {task.id: task for task in given}, people, judgements)


def one(judgements: Sequence[Judgement], *given: Task, name: str = "ann") -> AnnotatorQuality:
    return next(each for each in assessment.assess_annotators(labels(judgements, *given)) if each.annotator.id == name)


# Agreement.


def test_alpha_is_measured_on_the_winner_and_not_on_the_side() -> None:
    # As in the example worked by hand: (a,a), (b,b), (a,b), and one answer beside a skip.
    given = tasks(4)
    said = [judged(task, "ann", s, left="a") for task, s in zip(given, "abaa", strict=True)]
    said += [judged(task, "bob", s, left="b") for task, s in zip(given, "abb-", strict=True)]
    found = assessment.assess(labels(said, *given)).agreement
    assert found["winner"].alpha == pytest.approx(4 / 9)
    assert (found["winner"].tasks, found["winner"].judgements) == (3, 6)


def test_both_bad_does_not_agree_with_a_tie() -> None:
    given = tasks(2)
    said = [judged(task, name, s) for task in given for name, s in (("ann", "t"), ("bob", "x"))]
    # o_tie,bad = 2 and n_tie = n_bad = 2 of n = 4: alpha = 1 - 3 * 2 / 4.
    assert assessment.assess(labels(said, *given)).agreement["winner"].alpha == pytest.approx(-0.5)


def test_strength_agrees_by_degrees_and_by_response() -> None:
    given = tasks(6)
    near = [judged(task, "ann", s, strength=3) for task, s in zip(given, "aabbab", strict=True)]
    near += [judged(task, "bob", s, strength=2, left="b") for task, s in zip(given, "aabbab", strict=True)]
    apart = near[:6] + [judged(task, "bob", s, strength=2) for task, s in zip(given, "bbaaba", strict=True)]
    alphas = [assessment.assess(labels(said, *given)).agreement["strength"].alpha for said in (near, apart)]
    assert alphas[0] is not None
    assert alphas[1] is not None
    assert alphas[0] > 0.5
    assert alphas[1] < -0.4


def test_without_strengths_there_is_no_agreement_on_them() -> None:
    given = tasks(3)
    said = [judged(task, name, "a") for task in given for name in ("ann", "bob")]
    assert set(assessment.assess(labels(said, *given)).agreement) == {"winner"}


def test_rankings_agree_pair_by_pair() -> None:
    given = tasks(12, "abc")
    said = []
    for task in given:
        a, b, c = task.candidates
        said += [
            judged(task, "ann", Answer("ranked", ranking=((b,), (a, c)))),
            judged(task, "bob", Answer("ranked", ranking=((b,), (a,), (c,)))),
        ]
    found = assessment.assess(labels(said, *given))
    # Each task has the pairs ab (-1, -1), bc (1, 1) and ac (0, 1). Per task o_01 = o_10 = 1, n_-1 = 2, n_0 = 1 and
    # n_1 = 3; alpha = 1 - (72 - 1) * 24 / (72² - 24² - 12² - 36²).
    assert found.agreement["ranking"].alpha == pytest.approx(1 - 71 * 24 / (72**2 - 24**2 - 12**2 - 36**2))
    assert (found.agreement["ranking"].tasks, found.agreement["ranking"].judgements) == (12, 24)
    assert [each.tasks for each in found.kappas] == [36]
    assert all(each.skill is not None for each in found.annotators)


def test_ratings_agree_by_aspect() -> None:
    given = tasks(6, "a")
    said = []
    for number, task in enumerate(given):
        (only,) = task.candidates
        for name, helpful, honest in (("ann", number + 1, number + 1), ("bob", number + 1, 7 - number)):
            ratings = {"helpful": {only: helpful}, "honest": {only: honest}}
            said.append(judged(task, name, Answer("rated", ratings=ratings)))
    found = assessment.assess(labels(said, *given))
    assert found.agreement["helpful (1 to 7)"].alpha == pytest.approx(1.0)
    honest = found.agreement["honest (1 to 7)"].alpha
    assert honest is not None
    assert honest < 0
    assert [(each.skill, each.weight) for each in found.annotators] == [(None, 1.0), (None, 1.0)]


def test_ratings_on_two_scales_are_two_agreements() -> None:
    # A third opinion on the scale of 5 changes that agreement alone. The aspect has the name of another scale.
    versions = {("main", n): Campaign(kind="rating", scale=scale) for n, scale in ((1, 5), (2, 9))}
    given = [task for version in (1, 2) for task in tasks(4, "a", version=version)]
    said = []
    for task in given:
        best = versions["main", task.version].scale
        for name in ("ann", "bob"):
            point = best if task.prompt_id in ("p0", "p1") else 1
            said.append(judged(task, name, Answer("rated", ratings={"winner": {task.candidates[0]: point}})))
    apart = [judged(given[0], "cid", Answer("rated", ratings={"winner": {given[0].candidates[0]: 1}}))]
    both = replace(labels(said, *given), versions=versions)
    found = assessment.assess(both)
    assert {scale: (each.alpha, each.tasks) for scale, each in found.agreement.items()} == {
        "winner (1 to 5)": (pytest.approx(1.0), 4),
        "winner (1 to 9)": (pytest.approx(1.0), 4),
    }
    assert found.headline == found.agreement["winner (1 to 5)"]
    more = assessment.assess(replace(labels(said + apart, *given), versions=versions)).agreement
    assert more["winner (1 to 5)"].alpha != more["winner (1 to 9)"].alpha == pytest.approx(1.0)


def test_another_kind_under_the_same_name_is_another_agreement() -> None:
    pairs, ranked = tasks(6), tasks(6, "ab", version=2)
    said = [judged(task, who, s) for task, s in zip(pairs, "ababab", strict=True) for who in ("ann", "bob")]
    alone = assessment.assess(labels(said, *pairs)).agreement["winner"]
    against = []
    for number, task in enumerate(ranked):
        one, other = task.candidates
        for who, order in (("ann", ((one,), (other,))), ("bob", ((other,), (one,)))):
            against.append(judged(task, who, Answer("ranked", ranking=order if number % 2 else order[::-1])))
    versions = {("main", 1): Campaign(), ("main", 2): Campaign(kind="ranking")}
    found = assessment.assess(replace(labels(said + against, *pairs, *ranked), versions=versions)).agreement
    assert found["winner"] == alone
    assert alone.alpha == pytest.approx(1.0)
    assert found["ranking"].alpha is not None
    assert found["ranking"].alpha < -0.5


def test_gold_tasks_and_repeats_are_left_out_of_agreement() -> None:
    given = tasks(4)
    golden = Task("p", ("x", "y"), gold=Answer("preferred", winner="x"))
    again = Task("p0", given[0].candidates, repeat_of=given[0].id, reserved_for="ann")
    said = [judged(task, name, s) for name in ("ann", "bob") for task, s in zip(given, "abab", strict=True)]
    more = [judged(golden, "ann", "a"), judged(golden, "bob", "b"), judged(again, "ann", "b")]
    plain = assessment.assess(labels(said, *given)).agreement
    assert assessment.assess(labels(said + more, *given, golden, again)).agreement == plain


# One annotator.


def test_a_side_bias_shows_in_the_binomial_test() -> None:
    given = tasks(12)
    said = [judged(task, "ann", "a", seconds=3.0) for task in given[:10]]
    said += [judged(given[10], "ann", "t", seconds=5.0), judged(given[11], "ann", "-", seconds=0.5)]
    ann = one(said, *given)
    assert (ann.judgements, ann.left.n, ann.left.value) == (12, 10, 1.0)
    assert ann.doubts["side"] == pytest.approx(2 * 2 / 2**10), "ten of one side; two questions, with the time"
    assert ann.left.low == pytest.approx(0.025**0.1), "exact"
    assert ann.median_seconds == 3.0
    assert (ann.hasty.n, ann.hasty.value) == (12, pytest.approx(1 / 12))


def test_the_side_test_allows_for_the_number_of_annotators() -> None:
    given = tasks(10)
    said = [judged(task, "ann", "a") for task in given]
    said += [judged(task, "bob", s) for task, s in zip(given, "ababababab", strict=True)]
    doubts = one(said, *given).doubts
    assert doubts["side"] == pytest.approx(2 / 2**10 * 16), "three questions of two annotators, of weights 1, 1 and 6"
    assert "fast" not in doubts


def test_an_annotator_without_decisive_verdicts_has_no_side() -> None:
    (task,) = tasks(1)
    ann = one([judged(task, "ann", "t")], task)
    assert (ann.left.n, ann.left.value, ann.doubts, ann.median_seconds) == (0, None, {}, None)
    assert (ann.gold.n, ann.repeats.n, ann.hasty.n, ann.skill, ann.weight) == (0, 0, 0, None, 1.0)


def test_agreement_with_gold_counts_answered_gold_tasks() -> None:
    known = [Answer("preferred", winner="0a"), Answer("preferred", winner="1a"), Answer("tie"), Answer("tie")]
    given = [Task(f"p{n}", (f"{n}a", f"{n}b"), gold=gold) for n, gold in enumerate(known)]
    ann = one([judged(task, "ann", s) for task, s in zip(given, "abt-", strict=True)], *given)
    assert (ann.gold.n, ann.gold.value) == (3, pytest.approx(2 / 3))
    assert ann.skill is not None
    assert ann.skill.choices == 2, "a known tie says nothing of which response is better"


def test_a_repeat_is_compared_with_ones_own_first_answer() -> None:
    given = tasks(3)
    again = [Task(t.prompt_id, t.candidates, repeat_of=t.id, reserved_for="ann") for t in given]
    said = [judged(task, "ann", s, left="a") for task, s in zip(given, "abt", strict=True)]
    said += [judged(task, "ann", s, left="b") for task, s in zip(again, "aat", strict=True)]
    said += [judged(task, "bob", "b") for task in given]
    ann = one(said, *given, *again)
    assert (ann.repeats.n, ann.repeats.value) == (3, pytest.approx(2 / 3))
    assert ann.skill is not None
    assert ann.skill.choices == 2, "a repeat is no second opinion"


def test_who_gets_careless_drifts() -> None:
    given = tasks(120)
    said = [judged(task, name, "a") for task in given for name in ("bob", "cid", "dee")]
    said += [
        judged(task, "ann", "b" if n >= 60 and n % 2 else "a", seconds=20.0 - n / 10) for n, task in enumerate(given)
    ]
    ann, bob = (one(said, *given, name=name) for name in ("ann", "bob"))
    assert ann.drift is not None
    assert ann.drift.early > 0.9 > 0.7 > ann.drift.late
    assert ann.drift.p_value < 1e-4
    assert bob.drift is None, "the others still bear bob out, if less surely"


def test_simulated_annotators_have_no_say_in_the_skill_of_people() -> None:
    given = tasks(40)
    said = [judged(task, name, "b") for task in given for name in ("robot 1", "robot 2", "robot 3")]
    said += [judged(task, name, "a") for task in given for name in ("ann", "bob")]
    ann, robot = (one(said, *given, name=name) for name in ("ann", "robot 1"))
    assert ann.skill is not None
    assert robot.skill is not None
    assert ann.skill.accuracy > 0.85
    assert (ann.weight, robot.weight) == (pytest.approx(1.0), pytest.approx(1.0))


def test_weights_follow_the_known_answers_of_pairs() -> None:
    given = [Task(f"p{n}", (f"{n}a", f"{n}b"), gold=Answer("preferred", winner=f"{n}a")) for n in range(30)]
    said = [judged(task, "ann", "a") for task in given] + [judged(task, "bob", "b") for task in given]
    assert one(said, *given).weight == pytest.approx(2.0)
    assert one(said, *given, name="bob").weight == 0.0


@pytest.mark.parametrize("known", [Answer("tie"), Answer("both_bad")])
def test_wrong_answers_that_agree_earn_nothing_where_none_is_better(known: Answer) -> None:
    given = [Task(f"p{n}", (f"{n}a", f"{n}b"), gold=known) for n in range(30)]
    said = [judged(task, name, "a") for task in given for name in ("ann", "bob")]
    assert one(said, *given).skill is None


@pytest.mark.parametrize(("scale", "right"), [(2, 0.5), (4, 0.5), (7, 1.0)])
def test_known_ratings_on_a_short_scale_are_met_exactly(scale: int, right: float) -> None:
    known = [Answer("rated", ratings={"helpful": {f"{n}a": 1 + n % 2}}) for n in range(6)]
    given = [Task(f"p{n}", (f"{n}a",), gold=gold) for n, gold in enumerate(known)]
    again = [Task(f"q{n}", (f"{n}q",)) for n in range(2)]
    repeats = [Task(each.prompt_id, each.candidates, repeat_of=each.id, reserved_for="ann") for each in again]

    def rated(task: Task, point: int) -> Judgement:
        return judged(task, "ann", Answer("rated", ratings={"helpful": {task.candidates[0]: point}}))

    said = [rated(task, 1) for task in (*given, *again)] + [rated(repeats[0], 1), rated(repeats[1], 2)]
    versions = {("main", 1): Campaign(kind="rating", scale=scale)}
    found = replace(labels(said, *given, *again, *repeats), versions=versions)
    (ann,) = assessment.assess_annotators(found)
    assert (ann.gold.n, ann.gold.value) == (6, right)
    assert (ann.repeats.n, ann.repeats.value) == (2, right)


def test_nobody_is_compared_with_the_simulated() -> None:
    given = tasks(24)
    said = [judged(task, who, "ab"[n % 2]) for n, task in enumerate(given) for who in ("ann", "bob")]
    robots = [judged(task, who, "ba"[n % 2]) for n, task in enumerate(given) for who in ("robot 1", "robot 2")]
    alone = [judged(task, "robot 1", "ba"[n % 2]) for n, task in enumerate(given)]
    people, both, one_robot = (assessment.assess(labels(each, *given)) for each in (said, said + robots, said + alone))
    assert people.agreement["winner"].alpha == both.agreement["winner"].alpha == pytest.approx(1.0)
    assert one_robot.agreement["winner"] == people.agreement["winner"], "a task of one person and a program is no pair"
    assert (both.agreement["winner"].tasks, both.agreement["winner"].judgements) == (24, 96)
    assert [(each.first, each.second) for each in both.kappas] == [("ann", "bob"), ("robot 1", "robot 2")]


def test_two_responses_that_were_ranked_say_as_much_however_many_were_shown() -> None:
    # One pair of nine responses is one choice, as one of two is; it counted 2/9.
    skills = []
    for shown in ("ab", "abcdefghi"):
        given, said = tasks(30, shown), []
        for number, task in enumerate(given):
            first, second = (task.candidates[0],), (task.candidates[1],)
            for who in ("ann", "bob", "cid"):
                wrong = who == "cid" and number % 3 == 0
                said.append(judged(task, who, Answer("ranked", ranking=(second, first) if wrong else (first, second))))
        found = [each.skill for each in assessment.assess_annotators(labels(said, *given))]
        skills.append([(each.accuracy, each.low, each.high) for each in found if each is not None])
    assert len(skills[0]) == 3
    assert skills[0] == [pytest.approx(each) for each in skills[1]]


def test_the_time_of_a_task_is_all_that_was_spent_on_it() -> None:
    given = tasks(2)
    said = [judged(task, "ann", "a", seconds=0.4) for task in given]  # as an edit of it took
    found = replace(labels(said, *given), spent={(given[0].id, "ann"): 9.0})
    (ann,) = assessment.assess_annotators(found)
    assert (ann.hasty.n, ann.hasty.value, ann.median_seconds) == (2, 0.5, pytest.approx(4.7))
