"""What mkdocs.yml cannot say in plain YAML: anchors are those that GitHub makes."""

from __future__ import annotations

from typing import Any

from pymdownx.slugs import slugify


def on_config(config: Any) -> Any:
    """Have headings named as GitHub names them; called by mkdocs with its settings, which it returns."""
    config["mdx_configs"]["toc"]["slugify"] = slugify(case="lower")
    return config
