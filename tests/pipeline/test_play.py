import io
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from foundation.errors import UserError
from pipeline.cli.commands import app
from pipeline.play import PlayConfig, Played, Remembered, load, play
from reward_model.rewards.registry import RewardSpec

TASKS = Path(__file__).parent.parent.parent / "configs" / "play"
WRITTEN = {
    "three_words": {"我爱你"},
    "cat_on_the_mat": {"the cat sat on the mat"},
    "ten_words": {"An old dog sleeps on the mat", "A young cat sleeps on the mat"},
    "code": {"a * b", "b * a"},
}


def rlhf_play(*arguments: str | Path, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["play", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def quietly(config: PlayConfig, picture: Path | None = None) -> Played:
    return play(config, Console(file=io.StringIO()), picture)


def test_every_shipped_task_is_tested() -> None:
    assert {file.stem for file in TASKS.glob("*.yaml")} == set(WRITTEN)


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_a_shipped_task_is_learned_within_a_minute_of_one_core(name: str) -> None:
    start = time.process_time()
    output = rlhf_play(TASKS / f"{name}.yaml")
    assert time.process_time() - start < 60
    before = load(TASKS / f"{name}.yaml", ()).task.before
    assert any(f"writes {before}{text}\n" in output for text in WRITTEN[name]), output
    assert "█" in output
    assert "earns" in output


@pytest.mark.parametrize(
    "learner",
    [
        "{algorithm: q-learning, episodes: 600}",
        "{algorithm: sarsa, episodes: 1500}",
        "{algorithm: value-iteration}",
        "{algorithm: reinforce, episodes: 640, learning_rate: 0.03}",
        "{algorithm: actor-critic, episodes: 640, learning_rate: 0.03, value_learning_rate: 0.03}",
        "{algorithm: ppo, episodes: 320}",
    ],
)
def test_any_algorithm_can_learn_a_task(learner: str, tmp_path: Path) -> None:
    task = yaml.safe_load((TASKS / "three_words.yaml").read_text(encoding="utf-8")) | {
        "learner": yaml.safe_load(learner)
    }
    file = tmp_path / "task.yaml"
    file.write_text(yaml.safe_dump(task), encoding="utf-8")
    played = quietly(load(file, ()))
    assert (played.text, played.reward) == ("我爱你", 3.0)
    assert played.episodes == sorted(played.episodes)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_curve_is_drawn(tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / "new" / f"curve{suffix}"
    output = rlhf_play(TASKS / "three_words.yaml", "--set", "learner.episodes=40", "--out", picture)
    assert str(picture) in output.replace("\n", "")
    start = picture.read_bytes()[:5]
    assert start in (b"\x89PNG\r", b"<?xml")


def task(tmp_path: Path, **changes: Any) -> Path:
    """The three words with some fields changed; None removes one."""
    content = yaml.safe_load((TASKS / "three_words.yaml").read_text(encoding="utf-8"))
    content["task"] |= changes
    content["task"] = {name: value for name, value in content["task"].items() if value is not None}
    file = tmp_path / "task.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": []}, "vocabulary is empty"),
        ({"vocabulary": None}, 'the field "task.vocabulary" is missing'),
        ({"vocabulary": ["on", True]}, "put quotes around such a word"),
        ({"target": "我恨你"}, "恨"),
        ({"target": None}, "Give `rewards`, or a `target`"),
        ({"max_length": 2}, "Raise max_length"),
        ({"discount": 1.5}, "task.discount"),
        ({"colour": 1}, 'unknown field "task.colour"'),
        ({"rewards": [{"name": "blue"}]}, 'there is no reward "blue"'),
        ({"rewards": [{"name": "tests_passed"}]}, "enabled: true"),
        ({"rewards": [{"name": "learned"}]}, "none was handed in"),
    ],
)
def test_a_wrong_task_is_one_message(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    output = rlhf_play(task(tmp_path, **changes), status=2)
    assert message in output.replace("\n", " ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learner.algorithm=a3c", "'q-learning'"),
        ("learner.episode=3", "Did you mean learner.episodes?"),
        ("learner.clip=0.2", 'unknown field "learner.clip"'),
        ("learner.learning_rate=-1", '"learner.learning_rate" is wrong'),
        ("seed=-1", '"seed" is wrong'),
    ],
)
def test_a_wrong_setting_is_one_message(override: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        load(TASKS / "three_words.yaml", [override])
    assert message in str(raised.value)


def test_what_cannot_be_drawn_is_said_before_anything_is_learned(tmp_path: Path) -> None:
    assert ".png or .svg" in rlhf_play(TASKS / "three_words.yaml", "--out", tmp_path / "curve.pdf", status=2)
    exact = load(task(tmp_path), ()).model_copy(
        update={
            "learner": PlayConfig.model_validate(
                {
                    "task": {"vocabulary": ["a"], "max_length": 1, "target": "a"},
                    "learner": {"algorithm": "value-iteration"},
                }
            ).learner
        }
    )
    with pytest.raises(UserError, match="no curve"):
        quietly(exact, tmp_path / "curve.png")


@pytest.mark.parametrize("name", ["three_words", "three_words.yaml", "configs/play/three_words.yaml"])
def test_a_shipped_task_is_found_by_name_from_another_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(Path(name), ()) == load(TASKS / "three_words.yaml", ())


def test_a_task_of_ones_own_is_not_taken_for_the_shipped_one_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cannot read" in rlhf_play("mine/three_words.yaml", status=2)
    own = (TASKS / "ten_words.yaml").read_text(encoding="utf-8")
    (tmp_path / "three_words.yaml").write_text(own, encoding="utf-8")
    assert load(Path("three_words.yaml"), ()) == load(TASKS / "ten_words.yaml", ())


def test_a_missing_file_is_one_message(tmp_path: Path) -> None:
    assert "cannot read" in rlhf_play(tmp_path / "nothing.yaml", status=2)


def test_a_reward_is_asked_about_each_text_once() -> None:
    reward = Remembered(RewardSpec(name="bleu"), before="the ")
    asked: list[str] = []
    inner = reward._reward

    def noted(prompts: Any, completions: Any, **columns: Any) -> Any:
        asked.extend(completions)
        return inner(prompts=prompts, completions=completions, **columns)

    reward._reward = noted
    references = [["the cat"]] * 3
    first = reward(["", "", ""], ["cat", "dog", "cat"], references=references)
    assert reward(["", "", ""], ["dog", "cat", "mat"], references=references)[:2] == first[1::-1]
    assert asked == ["the cat", "the dog", "the mat"]
    assert first[0] == pytest.approx(1.0)
