"""The hidden preference of benchmarks: the sum that it documents, and the order that it makes."""

import pytest

from benchmarks.rewards.text_preference import hidden_preference

ASK = "How do I repot a plant?"
GOOD = (
    "Choose a pot slightly larger than the old one. Loosen the roots of the plant gently, set it in fresh soil, "
    "press lightly and water it well. Then keep it out of the sun."
)
CUT_OFF = GOOD.removesuffix(" keep it out of the sun.") + " keep it out of the"


def test_hidden_preference_is_the_sum_that_it_documents() -> None:
    # Finished 1; 34 words are in the band 1; of "repot" and "plant" only "plant" comes back 0.25;
    # of 33 word pairs one, "of the", comes twice: -3/33.
    assert hidden_preference(ASK, GOOD) == pytest.approx(2.25 - 3 / 33)
    # Finished, but 4 of 5 words 0.8; 4 of 8 words for the length; nothing from the prompt.
    assert hidden_preference(ASK, "Use a bigger one.") == pytest.approx(0.8 + 4 / 8)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(GOOD, CUT_OFF, id="finished beats cut off"),
        pytest.param(
            " ".join(f"plant{n}" for n in range(25)) + ".",
            " ".join(f"plant{n}" for n in range(150)) + ".",
            id="25 beats 150",
        ),
        pytest.param(GOOD, "Water the plant well. " * 8, id="fresh words beat a loop"),
        pytest.param(CUT_OFF, "plant " * 40, id="even cut off, sense beats one word over and over"),
        pytest.param(CUT_OFF, "Plant plant plant pot pot pot.", id="even cut off, sense beats a short loop"),
        pytest.param(CUT_OFF, ASK, id="even cut off, an answer beats the question repeated"),
        pytest.param(CUT_OFF, "Pot. Soil.", id="even cut off, sentences beat single words"),
        pytest.param(GOOD, "Yes.", id="a sentence beats a word"),
        pytest.param("Use a bigger pot.", "", id="a few words beat nothing"),
        pytest.param(GOOD, "!!! ... !!!", id="words beat punctuation"),
        pytest.param(GOOD, GOOD.replace("plant", "thing"), id="an answer to the question beats one to anything"),
    ],
)
def test_hidden_preference_orders_responses(better: str, worse: str) -> None:
    assert hidden_preference(ASK, better) > hidden_preference(ASK, worse)


def test_hidden_preference_is_bounded() -> None:
    for text in ["", ".", "no " * 5000, "plant " * 5000, GOOD, "a", "\n\n", GOOD * 50]:
        assert -4.0 <= hidden_preference(ASK, text) <= 2.5
