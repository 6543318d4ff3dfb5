"""Unit tests as a reward: the share that passes, each row's own tests, and code in fences."""

import pytest

from foundation.errors import UserError
from reward_model.rewards.kinds.unit_tests import code_of
from reward_model.rewards.registry import build


def test_the_reward_is_the_share_of_tests_that_pass() -> None:
    reward = build({"name": "tests_passed", "enabled": True, "tests": ["assert f(2) == 4", "assert f(3) == 6"]})
    responses = ["```python\ndef f(x):\n    return 2 * x\n```", "def f(x): return 4", "I cannot."]
    assert reward(prompts=["p"] * 3, completions=responses) == [1, 0.5, 0]


def test_each_row_can_have_its_own_tests() -> None:
    reward = build({"name": "tests_passed", "enabled": True})
    responses = ["x = 1", "x = 2"]
    assert reward(prompts=["p"] * 2, completions=responses, tests=[["assert x == 1"], "assert x == 1"]) == [1, 0]
    with pytest.raises(UserError, match="needs tests, and row 2 has none"):
        reward(prompts=["p"] * 2, completions=responses, tests=[["assert x == 1"], None])


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("Here:\n```python\nx = 1\n```\nand\n```py\ny = 2\n```\n```sh\nls\n```", "x = 1\n\ny = 2\n"),
        ("```bash\npip install x\n```\nThen:\n```python\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1\n```\nIt prints:\n```\n1 apple\n```", "x = 1\n"),
        ("```bash\nls\n```\n```\nx = 1\n```", "x = 1\n"),
        ("```Python\nx = 1\n```\n```python3 title=a.py\ny = 2\n```", "x = 1\n\ny = 2\n"),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\r\n"),
        ('````python\nx = """\n```\n"""\n````', 'x = """\n```\n"""\n'),
        ("x = 1", "x = 1"),
    ],
)
def test_code_is_taken_out_of_its_fences(response: str, code: str) -> None:
    assert code_of(response) == code
