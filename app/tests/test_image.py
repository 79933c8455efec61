"""What the image promises, read from its recipe and its lock; the image itself is tried where it is deployed."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement
from packaging.version import Version

from .servers import ROOT


def recipe() -> list[str]:
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_ports_user_and_command() -> None:
    lines = recipe()
    assert "EXPOSE 8000 9090" in lines
    assert "USER 10001:10001" in lines
    assert lines[-1] == 'CMD ["python", "-m", "landfall_app.serve"]'
    assert lines.index("USER 10001:10001") > lines.index("FROM ${PYTHON_IMAGE}")
    assert not (ROOT / "Dockerfile").read_text().startswith("# syntax")  # needs a registry
    assert not any("--mount" in line for line in lines)  # the classic builder knows none
    base = next(line for line in lines if line.startswith("ARG PYTHON_IMAGE="))
    assert re.search(r":3\.\d+-slim$", base)


def test_dependencies_are_locked_and_as_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    wanted = {Requirement(text).name: Requirement(text) for text in project["dependencies"]}
    assert str(wanted["prometheus-client"].specifier) == ">=0.19.0"
    assert "prometheus-fastapi-instrumentator" in wanted
    locked = dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([\w.!+]+)", (ROOT / "requirements.lock").read_text(), re.M))
    for name, requirement in wanted.items():
        assert Version(locked[name]) in requirement.specifier, name
    pins = re.findall(
        r"^[\w.-]+(?:\[[\w,-]+\])?==\S+.*?(?=^\S|\Z)", (ROOT / "requirements.lock").read_text(), re.M | re.S
    )
    assert len(pins) == len(locked)
    assert all("--hash=sha256:" in pin for pin in pins)
    assert "http" not in re.sub(
        r"httpx|httpcore|httptools", "", (ROOT / "requirements.lock").read_text()
    )  # no index named
