"""The files in `deploy/`: what they name exists, and the programs they are for can read them. No container is built."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli.commands import app
from pipeline.config.config import load_config

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
CADDY = shutil.which("caddy")
GIVEN = {"POSTGRES_PASSWORD", "LABEL_HOST"}
OFFERED = {"NOTICES"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))


def test_every_file_that_compose_names_exists(compose: dict[str, Any]) -> None:
    build = compose["services"]["label"]["build"]
    context = DEPLOY / build["context"]
    assert context.resolve() == ROOT
    assert (context / build["dockerfile"]).is_file()
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in compose["volumes"], volume
        assert set(service.get("networks", ())) <= compose["networks"].keys()
        assert set(service.get("depends_on", ())) <= compose["services"].keys()


def test_what_has_to_be_given_is_required_and_documented(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{(\w+)", text))
    assert used == GIVEN | OFFERED
    assert set(re.findall(r"\$\{(\w+):\?\}", text)) == GIVEN
    documented = (ROOT / "docs" / "labeling.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in documented for name in used)
    proxy = compose["services"]["proxy"]
    read = set(re.findall(r"\{\$(\w+)\}", (DEPLOY / "compose.Caddyfile").read_text(encoding="utf-8")))
    assert read == set(proxy["environment"])
    assert "caddy" in proxy["image"]


def test_the_app_understands_its_command(compose: dict[str, Any]) -> None:
    label = compose["services"]["label"]
    name, *options = label["command"]
    inside = options[options.index("--config") + 1]
    (mounted,) = [volume.split(":")[0] for volume in label["volumes"] if volume.split(":")[1] == inside]
    config = load_config(DEPLOY / mounted, ())
    assert config.label.database == "postgresql://labeler@database/labels"
    assert config.label.host == "0.0.0.0"
    database = compose["services"]["database"]["environment"]
    assert (database["POSTGRES_USER"], database["POSTGRES_DB"]) == ("labeler", "labels")
    assert label["environment"]["PGPASSWORD"] == database["POSTGRES_PASSWORD"]
    offered = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).output
    assert all(option in offered for option in options if option.startswith("--"))


def test_the_proxy_leads_to_the_port_of_the_app(compose: dict[str, Any]) -> None:
    proxied = re.search(r"reverse_proxy (\w+):(\d+)", (DEPLOY / "compose.Caddyfile").read_text(encoding="utf-8"))
    assert proxied
    assert proxied[1] in compose["services"]
    assert int(proxied[2]) == load_config(None, ()).label.port
    shared = set(compose["services"]["proxy"]["networks"]) & set(compose["services"][proxied[1]]["networks"])
    assert shared
    assert "ports" not in compose["services"]["label"], "passwords would travel in the clear"


def test_the_image_is_made_of_what_is_there() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for name in line.split() if name[0] != "-"]
    assert all((ROOT / name).exists() for name in copied), copied
    packages = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages | {"configs"} <= set(copied)
    assert f"EXPOSE {load_config(None, ()).label.port}" in text


@pytest.mark.skipif(CADDY is None, reason="no Caddy here (apt-get install caddy)")
@pytest.mark.parametrize("name", ["Caddyfile", "compose.Caddyfile"])
def test_caddy_reads_its_files(name: str, tmp_path: Path) -> None:
    command = [str(CADDY), "adapt", "--config", str(DEPLOY / name), "--adapter", "caddyfile"]
    environment = {**os.environ, "LABEL_HOST": "label.example.org", "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "label.example.org" in done.stdout
