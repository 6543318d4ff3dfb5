"""What grows: the exponent, and that every part which needs no model can be measured."""

import pytest

from benchmarks import scale


def test_the_exponent_is_that_between_the_two_largest_sizes() -> None:
    assert scale.exponent([1, 10, 100], [5.0, 1.0, 100.0]) == pytest.approx(2)
    assert scale.exponent([10, 1000], [3.0, 3.0]) == 0
    assert scale.exponent([10], [3.0]) is None
    assert scale.exponent([10, 100], [0.0, 3.0]) is None


@pytest.mark.parametrize(
    "name",
    ["choosing a step's prompts", "choosing labels to train on", "exporting preferences", "an answer and the next task",
     "figures of a campaign", "skills of annotators"],
)  # fmt: skip
def test_a_part_is_measured(name: str) -> None:
    figures = scale.measure(scale.PARTS[name], 150, repeats=1)
    assert figures["seconds"] > 0
    assert figures["mib"] >= 0


def test_a_size_that_cannot_be_measured_says_why() -> None:
    with pytest.raises(SystemExit, match=r"nothing of the kind at 3 failed:(.|\n)*KeyError"):
        scale.in_a_process("nothing of the kind", 3, repeats=1)
