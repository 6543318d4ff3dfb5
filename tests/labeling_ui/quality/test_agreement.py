"""Alpha and kappa, on numbers worked by hand and on published ones."""

import json
import random
from itertools import zip_longest
from pathlib import Path

import evalica
import pandas as pd  # type: ignore[import-untyped]
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from labeling_ui.assignment.answer_comparison import Category, Unit
from labeling_ui.quality.agreement import Level, kappas, krippendorff

PANDALM = Path(__file__).parents[4] / "shared" / "data" / "pandalm_test_3annotators" / "testset-v1.json"


def table(*observers: str) -> dict[Unit, dict[str, Category]]:
    """One string an observer, one character a unit; a dot is a missing value, a digit a number."""
    return {
        (f"unit {unit:03}",): {
            f"observer {number}": int(row[unit]) if row[unit].isdigit() else row[unit]
            for number, row in enumerate(observers)
            if row[unit] != "."
        }
        for unit in range(len(observers[0]))
    }


def test_alpha_of_krippendorffs_own_example() -> None:
    # Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), part C: missing values. Nominal .743, and for
    # the same data .815 ordinal (part D).
    observers = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    found = krippendorff(table(*observers))
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert krippendorff(table(*observers), "ordinal").alpha == pytest.approx(0.815, abs=5e-4)
    assert (found.tasks, found.judgements) == (11, 40)
    assert found.low is not None
    assert found.high is not None
    assert 0.3 < found.low < 0.743 < found.high <= 1


def test_alpha_worked_by_hand() -> None:
    # Coincidences: units 1 and 2 agree (a,a) and (b,b); unit 3 is (a,b). So o_ab = o_ba = 1, n_a = n_b = 3, n = 6,
    # and alpha = 1 - (n - 1) * o_ab / (n_a * n_b) = 1 - 5/9. Unit 4 has one answer, and is not counted.
    found = krippendorff(table("abaa", "abb."))
    assert found.alpha == pytest.approx(4 / 9)
    assert (found.tasks, found.judgements) == (3, 6)


def test_ordinal_alpha_forgives_neighbours_more_than_opposites() -> None:
    near, far = krippendorff(table("11335", "11353"), "ordinal"), krippendorff(table("11335", "51335"), "ordinal")
    assert near.alpha is not None
    assert far.alpha is not None
    assert near.alpha > far.alpha


@pytest.mark.parametrize("observers", [("ab",), ("aaa", "aaa"), ("a..", ".bc"), ("",)])
def test_without_a_second_or_another_opinion_there_is_no_alpha(observers: tuple[str, ...]) -> None:
    found = krippendorff(table(*observers))
    assert (found.alpha, found.low, found.high) == (None, None, None)


def test_few_tasks_give_a_wide_interval_even_where_all_agree() -> None:
    # The exact bound on 0 exceptions of 4; by chance 4 of 7 answers would differ.
    few, many = krippendorff(table("abab", "abab")), krippendorff(table("abab" * 50, "abab" * 50))
    assert (few.alpha, few.high) == (1.0, 1.0)
    assert few.low == pytest.approx(1 - (1 - 0.025**0.25) / (4 / 7))
    assert many.low is not None
    assert many.low > 0.95


def test_the_interval_covers_the_true_alpha_where_many_judge_each_task() -> None:
    # Two even categories. Half of the tasks are hard (each answer is right with probability .8), half are easy (1), so
    # that the answers to one task hang together. Alpha is 1 - E[2 p (1 - p)] / .5 = 1 - .16 / .5. The bootstrap that
    # evalica has (Krippendorff 2006) covers it in 69 of 200 such data sets.
    draw = random.Random(0)
    covered = 0
    for _ in range(60):
        said: dict[Unit, dict[str, Category]] = {}
        for unit in range(60):
            right = draw.choice([0.8, 1.0])
            truth = draw.random() < 0.5
            said[str(unit),] = {str(n): int(truth == (draw.random() < right)) for n in range(12)}
        found = krippendorff(said)
        assert found.low is not None
        assert found.high is not None
        covered += found.low < 0.68 < found.high
    assert covered >= 52, "95% of 60 is 57; fewer than 52 has a chance of 0.3% at that rate"


@pytest.mark.parametrize("right", [0.5, 0.8, 0.95])
def test_the_interval_covers_the_true_alpha_of_few_tasks(right: float) -> None:
    draw, covered = random.Random(0), 0
    for _ in range(60):
        rows = ["".join(draw.choices("ab", (right, 1 - right), k=8)) for _ in range(2)]
        turned = ["".join("ba"["ab".index(c)] if n % 2 else c for n, c in enumerate(row)) for row in rows]
        found = krippendorff(table(*turned))
        covered += found.low is None or (found.low <= (2 * right - 1) ** 2 <= (found.high or 0.0))
    assert covered >= 53, "95% of 60 is 57; fewer than 53 has a chance of 1%"


def test_answers_to_one_task_count_together() -> None:
    independent = {(f"task {n}",): given for n, given in enumerate(table("ab" * 40, "ab" * 35 + "ba" * 5).values())}
    bundled = {(f"task {n // 10}", str(n)): given for n, given in enumerate(independent.values())}
    narrow, wide = krippendorff(independent), krippendorff(bundled)
    assert narrow.alpha == pytest.approx(wide.alpha)
    assert (narrow.tasks, wide.tasks) == (80, 8)
    assert narrow.low is not None
    assert wide.low is not None
    assert wide.low < narrow.low


def test_kappa_worked_by_hand() -> None:
    # Cohen 1960: agreement 8/10; by chance .6 * .6 + .4 * .4 = .52; kappa = (.8 - .52) / .48.
    (found,) = kappas(table("aaaaaabbbb", "aaaaabbbba"))
    assert found.kappa == pytest.approx(0.28 / 0.48)
    assert (found.first, found.second, found.tasks) == ("observer 0", "observer 1", 10)


def test_kappa_needs_shared_tasks_and_two_opinions() -> None:
    assert kappas(table("aaabbb", "aaabbb")) == []
    assert kappas(table("a" * 20, "a" * 20)) == []
    assert kappas(table("ab" * 20 + "." * 40, "." * 40 + "ab" * 20)) == []


@pytest.mark.skipif(not PANDALM.is_file(), reason=f"{PANDALM} is not there")
def test_kappa_and_alpha_of_pandalm_are_the_published_ones_on_all_999_rows() -> None:
    rows = json.loads(PANDALM.read_text(encoding="utf-8"))
    texts = ("response1", "response2")
    broken = {row["idx"] for row in rows if not all(isinstance(row[name], str) for name in texts)}
    assert (len(rows), len(broken)) == (999, 6)
    said: dict[Unit, dict[str, Category]] = {
        (str(row["idx"]),): {name: row[name] for name in ("annotator1", "annotator2", "annotator3")} for row in rows
    }
    assert [round(each.kappa, 3) for each in kappas(said)] == [0.852, 0.879, 0.862]
    found = krippendorff(said)
    assert found.alpha is not None
    assert round(found.alpha, 3) == 0.864
    assert (found.tasks, found.judgements) == (999, 2997)
    # Six rows have `true` where a response should be: the published figures count them. Without:
    whole = {unit: given for unit, given in said.items() if int(unit[0]) not in broken}
    assert [round(each.kappa, 3) for each in kappas(whole)] == [0.851, 0.885, 0.867]
    without = krippendorff(whole)
    assert without.alpha is not None
    assert round(without.alpha, 3) == 0.868


def crowd(seed: int, categories: str) -> dict[Unit, dict[str, Category]]:
    """Some of eight observers on each of sixty units, of whom most see one category and some any."""
    draw = random.Random(seed)
    rows = []
    for _ in range(60):
        usual = draw.choice(categories)
        rows.append([draw.choice([usual, usual, draw.choice(categories), "."]) for _ in range(8)])
    return table(*("".join(row) for row in zip(*rows, strict=True)))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("level", "categories"), [("nominal", "abcd"), ("nominal", "ab"), ("ordinal", "12345")])
def test_alpha_is_evalicas(seed: int, level: Level, categories: str) -> None:
    said = crowd(seed, categories)
    rows = [[categories.index(str(each)) for each in given.values()] for given in said.values() if len(given) > 1]
    peer = evalica.alpha(pd.DataFrame(zip_longest(*rows), dtype=float), level).alpha
    assert krippendorff(said, level).alpha == pytest.approx(float(peer), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_kappa_is_that_of_statsmodels(seed: int) -> None:
    said, categories = crowd(seed, "abc"), "abc"
    found = kappas(said)
    assert len(found) == 28
    for kappa in found:
        counts = [[0] * 3 for _ in categories]
        for given in said.values():
            if {kappa.first, kappa.second} <= given.keys():
                one, other = (categories.index(str(given[who])) for who in (kappa.first, kappa.second))
                counts[one][other] += 1
        assert kappa.kappa == pytest.approx(float(cohens_kappa(counts, return_results=False)), abs=1e-9)
