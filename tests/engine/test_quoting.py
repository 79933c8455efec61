"""What a quoting function writes is read back as the same text by the language's own parser."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.plugin_utils import quick_yaml, quoting
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
HOSTILE = [
    "", " ", "017", "1.10", "12:30:45", "1e3", "~", "null", "yes", "0x1F", "1_000", "2026-01-01", "$HOME ${x} $$",
    "a: b", "- a", "# c", " lead", "trail ", "tab\tnl\nend\n", "\r\n", "\u2028\u2029\x85\xa0\ufeff", "\U0001f600",
    "'\"\\`", "{{ x }}", "%41", "!tag", "&a *a", "\x00\x07\x1b\x7f", "=", "<<", "\\u0041", "a\\", "e\u0301",
]  # fmt: skip
TEXTS = st.sampled_from(HOSTILE) | ANY


def readers(text: str) -> list[Any]:
    """What parsers of YAML 1.1 and of YAML 1.2 make of it."""
    modern = YAML(typ="safe", pure=True)
    modern.version = (1, 2)
    return [
        yaml.safe_load(text),
        quick_yaml.load(text),
        modern.load(text),
    ]


def expanded(text: str) -> str:
    """Compose's interpolation without any variable: ``$$`` is the sign, everything else must not be left."""
    assert not re.search(r"\$(?!\$)", text.replace("$$", "")), text
    return text.replace("$$", "$")


@settings(derandomize=True, max_examples=300)
@given(TEXTS)
def test_yaml(text: str) -> None:
    for found in readers(f"a: {quoting.yaml_text(text)}\n"):
        assert found == {"a": text}
    for found in readers(f"a: {quoting.yaml_text(text, expands=True)}\n"):
        assert expanded(found["a"]) == text


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=3), max_size=4))
def test_yaml_of_maps_and_lists(value: dict[str, Any]) -> None:
    for found in readers(quoting.yaml_text(value)):
        assert found == value


def test_scalars_become_text() -> None:
    assert quoting.yaml_text([8000, True, False, 1.5, "x"]) == '["8000", "true", "false", "1.5", "x"]'


@pytest.mark.parametrize("value", [None, {1, 2}, b"x", [None], {"a": None}, object()])
def test_what_is_no_text_is_not_written(value: Any) -> None:
    with pytest.raises(quoting.QuotingError):
        quoting.yaml_text(value)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(quoting.QuotingError, match="half of a character"):
        quoting.yaml_text("\ud83d")


@settings(derandomize=True, max_examples=200)
@given(TEXTS)
def test_a_url_carries_any_password(text: str) -> None:
    url = urlsplit(f"redis://:{quoting.url_text(text)}@redis:6379/0")
    assert (unquote(url.password or ""), url.hostname, url.port, url.path) == (text, "redis", 6379, "/0")


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.sampled_from([text for text in HOSTILE if "\0" not in text]) | ANY.filter(lambda text: "\0" not in text))
def test_a_shell_reads_one_word(text: str) -> None:
    done = subprocess.run(["sh", "-c", "printf %s " + quoting.shell_text(text)], capture_output=True, check=True)
    assert done.stdout.decode() == text


@settings(derandomize=True, max_examples=200)
@given(TEXTS)
def test_a_regular_expression_matches_the_text_alone(text: str) -> None:
    assert re.fullmatch(quoting.regex_text(text), text)
    assert not re.fullmatch(quoting.regex_text(text), text + "x")


@settings(derandomize=True, max_examples=200)
@given(TEXTS)
def test_alloy(text: str) -> None:
    """Go's escapes are those of JSON and a long one for what JSON writes in two halves."""
    written = quoting.go_text(text)
    as_json = re.sub(
        r"\\U([0-9a-f]{8})",
        lambda found: json.dumps(chr(int(found.group(1), 16)))[1:-1],
        written.replace("\\\\", "\\u005c"),
    )
    assert json.loads(as_json) == text


def test_alloy_lists() -> None:
    assert quoting.go_text(["a", 'b"']) == '["a", "b\\""]'


@pytest.mark.parametrize("text", ["a\nb", 'a"b', "{env.X}", "a\\b", "`", "\u2028"])
def test_a_caddyfile_is_given_nothing_that_it_would_change(text: str) -> None:
    with pytest.raises(quoting.QuotingError, match="Caddyfile"):
        quoting.caddyfile_text(text)


def test_a_caddyfile_has_quotes_where_it_needs_them() -> None:
    assert quoting.caddyfile_text("/metrics/*") == "/metrics/*"
    assert [quoting.caddyfile_text(text) for text in ("", "a b", "#c", "caf\u00e9")] == [
        '""',
        '"a b"',
        '"#c"',
        '"caf\u00e9"',
    ]


def test_a_matcher_takes_quotes_and_signs() -> None:
    assert quoting.matcher_text("team", ["web", 'a"b', "c.d", "e\\f"]) == r'team=~"web|a\"b|c\\.d|e\\\\f"'


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("uvicorn main:app --port 80", ["uvicorn", "main:app", "--port", "80"]),
        ("sh -c 'a; b | c'", ["sh", "-c", "a; b | c"]),
        ('echo "a b" c\\ d', ["echo", "a b", "c d"]),
        ("a --x='' # y", ["a", "--x=", "#", "y"]),
        (["a b", 8000, True], ["a b", "8000", "true"]),
        ("", []),
        (None, []),
        ("a --b=(c)d;e", None),
        ("a && b", None),
        ("a > b", None),
        ("a 'b", None),
        ("a $(b)", None),
        ("a `b`", None),
    ],
)
def test_commands(command: Any, found: Any) -> None:
    if found is None:
        with pytest.raises(quoting.QuotingError, match=r"no shell|open quote"):
            quoting.words(command)
    else:
        assert quoting.words(command) == found


@settings(derandomize=True, max_examples=200)
@given(st.lists(TEXTS.filter(lambda text: "\0" not in text), min_size=1, max_size=4))
@example(["a;b"])
def test_a_command_in_quotes_comes_apart_into_its_words(items: list[str]) -> None:
    assert quoting.words(" ".join(shlex.quote(item) for item in items)) == items
