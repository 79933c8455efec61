"""A first --check --diff shows of each new file how it begins, and of what changes everything."""

from __future__ import annotations

from ansible_collections.landfall.vps.plugins.action.component import shortened


def _one(before: str, after: str) -> dict[str, str]:
    return {"before_header": "web/a", "after_header": "web/a", "before": before, "after": after}


def test_a_long_new_file_is_cut_with_how_much_there_is() -> None:
    (found,) = shortened([_one("", "x\n" * 30)], 20)
    assert found["after_header"] == "web/a (new, 30 lines)"
    *shown, rest = found["after"].splitlines()
    assert shown == ["x"] * 20 and rest.startswith("... 10 more lines") and "landfall_new_file_lines" in rest


def test_a_short_new_file_and_what_changes_are_whole() -> None:
    whole = [_one("", "x\n" * 20), _one("a\n", "x\n" * 30), _one("x\n" * 30, "")]
    assert shortened(whole, 20) == whole
