"""What compose.yaml and the Dockerfile say of each service: command, environment, secrets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


def compose() -> dict[str, Any]:
    """The compose file with the defaults of its variables."""
    text = _VARIABLE.sub(r"\1", (DOCKER / "compose.yaml").read_text())
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def services() -> dict[str, dict[str, Any]]:
    found = compose()["services"]
    assert isinstance(found, dict)
    return found


def ours() -> dict[str, dict[str, Any]]:
    """The services that run an image of the Dockerfile."""
    return {name: service for name, service in services().items() if "build" in service}


def dockerfile(instruction: str) -> list[str]:
    """What follows an instruction, each time that it stands in the Dockerfile; continued lines are joined."""
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", "")
    return re.findall(rf"^{instruction}\s+(.*)$", text, flags=re.MULTILINE)


def entrypoint() -> list[str]:
    (found,) = dockerfile("ENTRYPOINT")
    return list(json.loads(found))


def health_command() -> list[str]:
    (found,) = dockerfile("HEALTHCHECK")
    return list(json.loads(found.partition("CMD")[2]))


def image_environment() -> dict[str, str]:
    """All that the stages set for the processes of an image."""
    pairs = re.findall(r"([A-Z_]+)=(\S+)", " ".join(dockerfile("ENV")))
    return {name: value for name, value in pairs if name != "PATH" and not name.startswith("UV_")}
