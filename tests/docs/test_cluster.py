"""The cluster page: its YAML against Ray's own schema, and its commands against the verbs."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.program import make_app

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cluster.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [text for named, text in found if named == language]


@pytest.mark.slow
def test_ray_takes_the_yaml() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster, types = map(yaml.safe_load, blocks("yaml"))
    validate_config(prepare_config(cluster))
    (kind,) = (kind for kind in types["available_node_types"].values() if "egress" in kind["resources"])
    own = {name: value for name, value in prepare_config(cluster).items() if name != "min_workers"}
    provider = {"provider": {"type": "external", "module": "a.providers"}}
    rented: dict[str, Any] = {**own, **types, **provider, "head_node_type": "head"}
    validate_config(rented)
    assert kind["resources"]["egress"] == 1


def test_the_commands_are_verbs() -> None:
    text = "\n".join(blocks("")).replace("\\\n", " ")
    commands = [line.partition("foundsound ")[2] for line in text.splitlines() if "foundsound " in line]
    commands += [code for code in re.findall(r"`foundsound ([^`]+)`", PAGE) if "/shared" in code]
    assert len(commands) >= 5
    for command in commands:
        make_app().parse_args(shlex.split(command), exit_on_error=False, print_error=False)
