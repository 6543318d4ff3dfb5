"""What only one of two responses says is marked, and nothing in it becomes markup."""

import re
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from labeling_ui.markdown import word_differences
from labeling_ui.markdown.render import to_html
from labeling_ui.markdown.word_differences import marked, marked_html

ALPHABET = "ab <>&\"'\n*`$|-[]"


def test_only_what_differs_is_marked() -> None:
    assert marked("Put oil on each hinge.", "Put water on each hinge.") == "Put <mark>oil</mark> on each hinge."


def test_what_differs_is_marked_in_a_rendered_text() -> None:
    one, other = (
        to_html(f"# Hinges\n\nPut *{what}* on `each` hinge, $x^{n}$ times.") for what, n in (("oil", 2), ("tar", 3))
    )
    assert one
    assert other
    shown = marked_html(one, other)
    assert "<em><mark>oil</mark></em>" in shown
    assert re.search("<mark><math.*</math></mark>", shown)
    assert shown.count("<mark>") == 2


@pytest.mark.parametrize("mark", [marked, marked_html])
def test_responses_that_differ_throughout_are_not_marked(mark: object) -> None:
    assert "<mark>" not in mark("one two three", "quite another thing altogether")  # type: ignore[operator]


def test_a_different_line_break_is_no_difference() -> None:
    assert marked("one two\nthree", "one\ntwo three") == "one two\nthree"


@given(st.text(alphabet=ALPHABET, max_size=60), st.text(alphabet=ALPHABET, max_size=60))
def test_the_text_stays_what_it_was(text: str, other: str) -> None:
    shown = str(marked(text, other)).replace("<mark>", "").replace("</mark>", "")
    assert Markup(shown).unescape() == text
    assert "<" not in shown


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_as_much_as_possible_is_taken_for_the_same(one: list[str], other: list[str]) -> None:
    longest = max(
        len(part) for n in range(len(one) + 1) for part in combinations(one, n) if _is_within(part, other)
    )  # fmt: skip
    differs = word_differences._differing(one, other)
    enough = 4 * longest >= len(one) + len(other)
    assert differs.count(False) == (longest if enough else len(one))
    assert not enough or _is_within([word for word, new in zip(one, differs, strict=True) if not new], other)


def _is_within(part: Sequence[str], whole: Sequence[str]) -> bool:
    rest = iter(whole)
    return all(word in rest for word in part)


@settings(deadline=None)
@given(st.text(alphabet=ALPHABET, max_size=60), st.text(alphabet=ALPHABET, max_size=60))
def test_a_rendered_text_stays_what_it_was(text: str, other: str) -> None:
    one, two = to_html(text), to_html(other)
    assert one is not None
    assert two is not None
    assert marked_html(one, two).replace("<mark>", "").replace("</mark>", "") == one
