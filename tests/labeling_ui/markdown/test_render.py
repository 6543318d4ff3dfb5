"""Markdown, code and formulas are shown as their readers see them, and nothing in them can run, load or leave."""

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling_ui.markdown.render import LONGEST, to_html

ALLOWED_TAGS = (
    "p br hr h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong s table thead tbody tr th td div span math "
    "semantics mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr "
    "mtd mstyle mpadded mphantom mmultiscripts mprescripts none"
)
HARMLESS = {"dir", "class", "start", "display", "stretchy", "fence", "separator", "form", "lspace", "rspace", "minsize"}
HARMLESS |= {"maxsize", "movablelimits", "mathvariant", "columnalign", "rowspacing", "columnspacing", "linethickness"}
HARMLESS |= {"width", "displaystyle", "scriptlevel", "align"}


class Seen(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(text: str) -> Seen:
    html = to_html(text)
    assert html is not None
    return Seen(html)


def harmless(seen: Seen) -> bool:
    return all(tag in ALLOWED_TAGS.split() and set(attributes) <= HARMLESS for tag, attributes in seen.tags)


def test_markdown_becomes_what_it_stands_for() -> None:
    seen = rendered("# Eggs\n\n- **boil**\n- ~~fry~~\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted\n\n1. one")
    assert {"h1", "ul", "li", "strong", "s", "table", "td", "blockquote", "ol"} <= {tag for tag, _ in seen.tags}


def test_columns_are_aligned_as_they_say() -> None:
    seen = rendered("| a | b | c |\n|---|:-:|--:|\n| 1 | 2 | 3 |")
    assert [found.get("align") for tag, found in seen.tags if tag in ("th", "td")] == [None, "center", "right"] * 2


def test_line_breaks_stay() -> None:
    assert [tag for tag, _ in rendered("one\ntwo").tags] == ["p", "br"]


def test_links_and_images_are_their_text_and_their_address() -> None:
    seen = rendered("[here](https://example.org/a?b=1&c=2) ![a cat](https://example.org/cat.png)")
    assert seen.text.strip() == "here (https://example.org/a?b=1&c=2) a cat (https://example.org/cat.png)"
    assert {tag for tag, _ in seen.tags} == {"p", "span"}


def test_code_is_highlighted_in_a_language_that_is_named() -> None:
    html = to_html("```python\ndef f(): return '<b>'\n```")
    assert html is not None
    assert '<span class="k">def</span>' in html
    assert Seen(html).text.strip() == "def f(): return '<b>'"
    assert "span" not in {tag for tag, _ in rendered("```nosuchlanguage\nx = 1\n```").tags}


@pytest.mark.parametrize("source", ["so $x^2$", r"so \(x^2\)", "so $$x^2$$", "$$\nx^2\n$$", r"\[x^2\]"])
def test_formulas_become_mathml(source: str) -> None:
    assert {"math", "msup"} <= {tag for tag, _ in rendered(f"It is this:\n\n{source}\n").tags}


@pytest.mark.parametrize("text", ["It costs $5 and $6.", "from $10 to $20", "\\frac without dollars"])
def test_prices_are_no_formulas(text: str) -> None:
    seen = rendered(text)
    assert "math" not in {tag for tag, _ in seen.tags}
    assert seen.text.strip() == text


@pytest.mark.parametrize("source", ["\\frac{1}", "{" * 500, "\\left(" * 200, "x" * 2000, "\\href{javascript:a}{x}"])
def test_a_formula_that_cannot_be_read_stops_nothing(source: str) -> None:
    assert harmless(rendered(f"before ${source}$ after"))


def test_each_paragraph_has_its_own_direction() -> None:
    assert [attributes.get("dir") for tag, attributes in rendered("English\n\nعربي").tags if tag == "p"] == ["auto"] * 2


def test_lists_quotes_and_tables_begin_on_the_side_of_their_first_letter() -> None:
    seen = rendered("- عربي\n\n- عربي\n\n> 1. one\n\n| ا | b |\n|---|---|\n| c | d |")
    found = [
        (tag, attributes.get("dir")) for tag, attributes in seen.tags if tag in ("ul", "li", "blockquote", "table")
    ]
    assert found == [
        ("ul", "rtl"),
        ("li", "rtl"),
        ("li", "rtl"),
        ("blockquote", "ltr"),
        ("li", "ltr"),
        ("table", "rtl"),
    ]


@pytest.mark.parametrize(
    "text", ["x" * (LONGEST + 1), "a\0b", "\\(" * 20_000, "|a" * 150 + "\n" + "|-" * 150 + "\n|x" * 12_000]
)
def test_what_is_too_long_is_shown_as_it_was_written(text: str) -> None:
    assert to_html(text) is None


def test_ten_thousand_nested_quotes_are_rendered() -> None:
    assert harmless(rendered(">" * 10_000 + " deep"))


@pytest.mark.parametrize(
    "text",
    [
        ">" * 40_000, "\n".join(">" * n for n in range(280)), "$" * 40_000, "$x " * 13_000, "\\(" * 3_000,
        "\\[" * 20_000,
        "$\\frac{" * 5_000, "*a_ " * 10_000, "[" * 40_000, "![" * 20_000, "<a " * 13_000, "`" * 20_000 + " `" * 10_000,
        "|a" * 10_000 + "\n" + "|-" * 10_000 + "\n|x", "- " * 20_000, ("```perl\n" + "s{" * 4_900 + "\n```\n") * 4,
        "```python\n" + "('" * 19_000, "&#1;" * 10_000, "$" + "x^" * 400 + "$",
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    start = time.process_time()
    to_html(text[:LONGEST])
    assert time.process_time() - start < 3  # a tenth of it where nothing else runs


ATTACKS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))",
    "![x](javascript:alert(1))", "[x](data:text/html;base64,PHNjcmlwdD4=)", "<style>*{display:none}</style>",
    "<form action=//evil><input name=p></form>", "<a href='javascript:alert(1)'>x</a>", "<svg/onload=alert(1)>",
    "<math><mtext><script>alert(1)</script></mtext></math>",
    "<iframe src=//evil></iframe>", "[x]: javascript:alert(1)\n\n[x]", "<javascript:alert(1)>", "<https://evil.example>",
    "```<script>\nalert(1)\n```", "```python onmouseover=alert(1)\n1\n```", "`<script>alert(1)</script>`",
    "$\\text{<script>alert(1)</script>}$", "$\\style{color:red}{x}$", "$<img src=x onerror=alert(1)>$",
    "| <script>alert(1)</script> |\n|---|\n| <img src=x onerror=alert(1)> |", "# <iframe>", "&lt;script&gt;alert(1)",
    "<math><annotation-xml encoding='text/html'><style><img src=x onerror=alert(1)>", "![](//evil.example/a.png)",
    "[x](http://evil.example 'onmouseover=alert(1)')", "\\[ <svg onload=alert(1)> \\]",
    "<b style='position:fixed'>x</b>",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_that_is_written_can_run_load_or_leave(attack: str) -> None:
    assert harmless(rendered(attack))
    assert harmless(rendered(f"text\n\n- item {attack}\n\n> {attack}"))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*ATTACKS, *"<>&\"'`*_[]()!#$\\\n|~-", " ", "a", "```\n", "$$"]), max_size=12))
def test_no_mixture_of_constructs_is_harmful(parts: list[str]) -> None:
    seen = rendered("".join(parts))
    assert harmless(seen)
    assert not re.search(r"^(javascript|data):", " ".join(str(v) for _, a in seen.tags for v in a.values()))
