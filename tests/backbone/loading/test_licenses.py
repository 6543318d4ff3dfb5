"""A base's licence is found in its card, its licence file or its configuration."""

import json
from pathlib import Path

import pytest

from backbone.loading.licenses import license_of
from tests.hub_cache import cached_as, python_with

TEXTS = {
    "                 Apache License\n           Version 2.0, January 2004": "apache-2.0",
    "MIT License\n\nCopyright (c) 2026\n\nPermission is hereby granted, free of charge, to any person": "mit",
    "Creative Commons Attribution-NonCommercial-NoDerivatives 4.0 International Public License": "cc-by-nc-nd-4.0",
    "Attribution-ShareAlike 4.0 International\n\n====": "cc-by-sa-4.0",
    "Attribution 4.0 International": "cc-by-4.0",
    "LLAMA 3.2 COMMUNITY LICENSE AGREEMENT": "llama3.2",
    "LLAMA 2 COMMUNITY LICENSE AGREEMENT\nLlama 2 Version Release Date: July 18, 2023": "llama2",
    "Modified MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining": "other",
    "My License\n\nIt is based on Apache License Version 2.0, with changes.": "other",
    "Boost Software License\n\nPermission is hereby granted, free of charge, to any person or organization": "other",
    "Ask me first.": "other",
}


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ("license: MIT", "mit"),
        ("license: [cc-by-nc-4.0, other]", "cc-by-nc-4.0"),
        ("license: mit\nextra_gated_heading: Please agree", "other"),
        ("license: gemma\nextra_gated_heading: Please agree", "gemma"),
        ("language: en", None),
        ("license: [", None),
    ],
)
def test_the_card_says_the_licence(metadata: str, found: str | None, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{metadata}\n---\n# A model\n")
    assert license_of(str(tmp_path)) == found


@pytest.mark.parametrize("text", TEXTS)
def test_a_licence_file_is_recognised(text: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# No metadata\n")
    (tmp_path / "LICENSE").write_text(text)
    assert license_of(str(tmp_path)) == TEXTS[text]


def test_the_configuration_comes_last_and_the_demo_model_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLHF_MODELS", str(tmp_path / "models"))
    (tmp_path / "config.json").write_text(json.dumps({"license": "Apache-2.0"}))
    assert license_of(str(tmp_path)) == "apache-2.0"
    (tmp_path / "config.json").write_text("{}")
    assert license_of(str(tmp_path)) is None
    assert {license_of(name) for name in ("demo", str(tmp_path / "models" / "SmolLM2-135M-Instruct"))} == {"apache-2.0"}


def test_of_a_hub_id_the_card_in_the_cache_says_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").write_text("---\nlicense: cc-by-nd-4.0\n---\n")
    cached_as("someone/model", tmp_path / "model", tmp_path / "home")
    code = (
        "from backbone.loading.licenses import license_of\nprint(license_of('someone/model'), license_of('no/where'))"
    )
    assert python_with(tmp_path / "home", code, project=True).split() == ["cc-by-nd-4.0", "None"]
