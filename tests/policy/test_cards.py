"""What an exported folder says of the adapter: figures with their intervals, how to load it, which base."""

import json
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from backbone.adapters import SharedBase
from backbone.loading.models import undeclared_ends
from policy.export import export_adapter
from policy.model_card import ends_in, load_snippet
from tests.conftest import make_tiny_model
from tests.policy.test_export import _card, _python
from tests.shared_base import add_random_adapter, load


def test_intervals_stand_beside_the_figures_that_have_them() -> None:
    sampled = {"measures": {"base": {"words": 40.0}, "policy": {"words": 30.0}}, "kl_interval": [2.0, 4.5]}
    evaluation = {"sampled": sampled | {"length_interval": [0.6, 0.9]}, "mean_kl": 3.0}
    card = _card("a/b", ".", evaluation=evaluation, settings={"kl_target": 4.0})
    assert "| 3.000 (95% interval 2.000 to 4.500) (target 4) |" in card
    assert "| 0.750 (95% interval 0.600 to 0.900) |" in card
    assert "interval" not in _card("a/b", ".", evaluation={"mean_kl": 3.0}).split("| KL")[1].split("\n")[0]


def test_the_snippet_asks_for_what_it_goes_on_with() -> None:
    """Before version 5, transformers gave a bare tensor unless it was asked for more."""
    assert "return_dict=True" in load_snippet("a/b", ".")


def test_an_export_under_another_name_keeps_no_commit_of_the_first(base: SharedBase, tmp_path: Path) -> None:
    exported = tmp_path / "policy"
    add_random_adapter(base, "policy", trainable=True)
    base.save_adapter("policy", exported)
    settings = json.loads((exported / "adapter_config.json").read_text())
    (exported / "adapter_config.json").write_text(json.dumps(settings | {"revision": "c0ffee"}))
    for name, kept in ((settings["base_model_name_or_path"], "c0ffee"), ("someone/else", None)):
        folder = exported.with_name(f"as-{kept}")
        folder.mkdir()
        export_adapter(exported, base.tokenizer, folder, "", name)
        written = json.loads((folder / "adapter_config.json").read_text())
        assert (written["base_model_name_or_path"], written["revision"]) == (name, kept)


def test_the_snippet_stops_where_the_template_ends_a_turn_on_a_base_whose_settings_do_not(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    model.model.norm.weight.data.zero_()  # every logit is zero, so that greedy text is token 0 alone
    model.generation_config.eos_token_id = model.config.eos_token_id = 2
    model.save_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>", "<|endoftext|>")
    tokenizer.save_pretrained(base)
    shared = load(base)
    add_random_adapter(shared, "policy", trainable=True)
    shared.save_adapter("policy", tmp_path / "policy")
    (tmp_path / "export").mkdir()
    ends = undeclared_ends(str(base), shared.tokenizer)
    card = _card(str(base), ".", snippet=load_snippet(str(base), ".", ends=ends))
    export_adapter(tmp_path / "policy", shared.tokenizer, tmp_path / "export", card)
    assert ends_in(card) == ends == [2, 0]
    assert _python(tmp_path / "export", card.split("```python\n")[1].split("```")[0]).strip() == "<|endoftext|>"
