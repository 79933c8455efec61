"""The engine knows kinds of things and no role by name: roles declare what they take in and how they are asked."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.module_utils.spec import COMPONENT
from ansible_collections.landfall.vps.plugins.plugin_utils import declared, serving, session
from ansible_collections.landfall.vps.plugins.plugin_utils.render import Rendered, render

from tests import rolekit

ENGINE = rolekit.ROOT / "collections/ansible_collections/landfall/vps/plugins"
COMPOSE = "services: {one: {image: 'one:1'}}\n"


def words(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of names and strings of a Python file; comments and docstrings know nothing."""
    before = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(source).readline):  # raises what is no Python
        docstring = token.type == tokenize.STRING and before in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
        if token.type in (tokenize.STRING, tokenize.NAME) and not docstring:
            yield token.start[0], token.string
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            before = token.type


def test_no_role_stands_in_the_engine_by_name() -> None:
    # "backup" is a word as well; and the program that makes them is a role's, which knows kinds of servers
    roles = [name for name in rolekit.component_names() if name != "backup"]
    names = {form for name in roles for form in (name, name.replace("_", "-"))}
    known = re.compile(r"(?<![a-z0-9])({})(?![a-z0-9])".format("|".join(sorted(names))), re.IGNORECASE)
    assert known.search("grafana/dashboards.d") and known.search("redis_password") and not known.search("mapping")
    found = [
        f"{path.relative_to(ENGINE)}:{line}: {hit.group()}"
        for path in sorted(ENGINE.rglob("*.py"))
        if path.parent.name != "backups"
        for line, text in words(path.read_text(encoding="utf-8"))
        # The place of a host in the group landfall_app, where a role of that name stands as others do
        if (hit := known.search(text)) and (path.name, text) != ("placement.py", '"app"')
    ]
    assert not found, f"let the roles declare it (docs/architecture.md, What roles declare): {found}"


def role(roles: Path, name: str, **files: str) -> Path:
    """A role with these files; two underscores stand for a slash, one for a dot."""
    for path, text in {"templates__compose_yaml_j2": COMPOSE, **files}.items():
        place = roles / name / path.replace("__", "/").replace("_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return roles / name


def rendered(roles: Path, name: str, there: set[str], **options: Any) -> Rendered:
    defaults = {key: option.get("default") for key, option in COMPONENT.items()}
    given = {**defaults, "name": name, "state": "present", **options}

    def text(source: str, _more: Mapping[str, Any], _delimiters: Mapping[str, str]) -> str:
        return Path(source).read_text(encoding="utf-8")

    to = declared.destinations(str(roles), lambda role: role in there)
    return render(given, str(roles / name), text, str(roles / "shared"), "vps", destinations=to)


@pytest.fixture
def roles(tmp_path: Path) -> Path:
    """Two stores of metrics, one of them by a name that nobody has heard of, and one who ships to them."""
    role(tmp_path, "astore", meta__landfall_yml="takes: {rules: rules.d, targets: targets.d}\n")
    role(tmp_path, "other_store", meta__landfall_yml="takes: {rules: alerts, targets: sd, boards: b.d}\n")
    role(tmp_path, "shop", files__rules__shop_yml="groups: []\n", files__boards__a_json="{}")
    return tmp_path


def shipped(result: Rendered) -> list[str]:
    return sorted(path for path in result.contents if not path.startswith("shop/"))


@pytest.mark.parametrize(
    ("there", "folders"),
    [
        ({"other_store"}, ["other_store/alerts/shop--shop.yml", "other_store/sd/shop.yml"]),
        ({"astore"}, ["astore/rules.d/shop--shop.yml", "astore/targets.d/shop.yml"]),
        (set(), ["astore/rules.d/shop--shop.yml", "astore/targets.d/shop.yml"]),
        (
            {"astore", "other_store"},
            [
                "astore/rules.d/shop--shop.yml",
                "astore/targets.d/shop.yml",
                "other_store/alerts/shop--shop.yml",
                "other_store/sd/shop.yml",
            ],
        ),
    ],
    ids=["another store", "the first", "before any exists", "both"],
)
def test_files_go_to_whoever_takes_them_in(roles: Path, there: set[str], folders: list[str]) -> None:
    scrape = [{"port": 1, "service": "one", "labels": {}}]
    found = shipped(rendered(roles, "shop", there, scrape=scrape))
    assert found == sorted([*folders, "other_store/b.d/shop--a.json"])


def test_a_declaration_that_changed_is_read_anew(tmp_path: Path) -> None:
    role(tmp_path, "store", meta__landfall_yml="takes: {rules: rules.d}")
    first = declared.takes(str(tmp_path / "store"))
    first["rules"] = "what a caller makes of its answer is its own"
    assert declared.takes(str(tmp_path / "store")) == {"rules": "rules.d"}
    role(tmp_path, "store", meta__landfall_yml="takes: {rules: alerts.d}")
    assert declared.takes(str(tmp_path / "store")) == {"rules": "alerts.d"}


def test_a_store_keeps_what_it_declares_in_its_record(roles: Path) -> None:
    serves = [{"api": "metrics", "port": 8428, "scrape_interval": "15s", "retention_size": ""}]
    meta = rendered(roles, "other_store", {"other_store"}, serves=serves).desired.meta
    assert meta["takes"] == {"rules": "alerts", "targets": "sd", "boards": "b.d"}
    assert meta["serves"] == [{"api": "metrics", "port": 8428, "scrape_interval": "15s", "service": "one"}]
    assert {"takes", "serves"}.isdisjoint(rendered(roles, "shop", set()).desired.meta)


def test_the_roles_of_this_repository_ship_to_where_their_files_always_were(tmp_path: Path) -> None:
    to = declared.destinations(str(rolekit.ROLES), lambda _role: False)
    assert to == {
        "dashboards": ["grafana/dashboards.d"],
        "rules": ["prometheus/rules.d"],
        "targets": ["prometheus/targets.d"],
        "textfiles": ["node_exporter/textfile.d"],
    }
    for name in to["rules"]:
        role_name, folder = name.split("/")
        assert folder in rolekit.component(role_name, tmp_path).desired.meta["drop_ins"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("takes: [rules]\n", "'takes' must be a map"),
        ("gives: {rules: a}\n", "must hold 'takes', a map"),
        ("takes: {rules: ../x}\n", "takes.rules is '../x'; name one folder"),
        ("takes: {secrets: s}\n", "takes.secrets: such files stay with their own component"),
    ],
)
def test_what_cannot_be_declared_is_refused(tmp_path: Path, text: str, said: str) -> None:
    role(tmp_path, "store", meta__landfall_yml=text)
    with pytest.raises(declared.DeclarationError, match=re.escape(said)):
        declared.takers(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stands: data\n", "stands is 'data'; list some of edge, app, workers, data, monitoring"),
        ("stands: [date]\n", "stands is ['date']; list some of edge, app, workers, data, monitoring"),
        ("offers: [http]\n", "offers is ['http']; list ports"),
        ("offers: [70000]\n", "offers is [70000]; list ports"),
    ],
)
def test_a_place_or_port_that_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    place = str(role(tmp_path, "store", meta__landfall_yml=text))
    with pytest.raises(declared.DeclarationError, match=re.escape(said)):
        declared.stands(place), declared.offers(place)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"api": "queue", "port": 1}, "serves[0].api is 'queue'; it must be metrics or logs"),
        ({"api": "metrics"}, "serves[0] (metrics) lacks port"),
        ({"api": "metrics", "port": 1, "ports": [1]}, "serves[0] (metrics) has no ports; it takes service, port"),
    ],
)
def test_what_is_served_is_checked(item: dict[str, Any], said: str) -> None:
    with pytest.raises(serving.ServesError, match=re.escape(said)):
        serving.checked([item])


PLAY = {"ansible_role_names": ["docker", "board", "logs"], "ansible_play_role_names": ["docker", "board", "logs"]}


@pytest.mark.parametrize(
    ("name", "variables", "recorded", "there"),
    [
        ("logs", {}, [], True),
        ("logs", {"logs_enabled": "false"}, [], False),
        ("logs", {"logs_enabled": "no"}, ["logs"], False),
        ("logs", {"logs_enabled": False}, ["logs"], False),
        ("logs", {"logs_enabled": "{{ profile != 'small' }}", "profile": "small"}, [], False),
        ("logs", {"logs_enabled": "true"}, [], True),
        ("logs", {"ansible_run_tags": ["board"]}, [], False),
        ("logs", {"ansible_run_tags": ["board"]}, ["logs"], True),
        ("logs", {"ansible_run_tags": ["board", "logs"]}, [], True),
        ("logs", {"ansible_run_tags": ["all"]}, [], True),
        ("logs", {"ansible_run_tags": ["a-tag-of-somebody's"]}, [], True),
        ("logs", {"ansible_skip_tags": ["logs"]}, [], False),
        ("logs", {"ansible_skip_tags": ["logs"]}, ["logs"], True),
        ("pager", {}, [], False),
        ("pager", {}, ["pager"], True),
        ("pager", {"pager_enabled": True}, [], False),
        ("pager", {"pager_enabled": False}, ["pager"], True),
    ],
)
def test_one_way_to_ask_whether_a_component_is_there(
    name: str, variables: dict[str, Any], recorded: list[str], there: bool
) -> None:
    state = session.as_fact({"records": {component: {"meta": {}} for component in recorded}})
    known = rolekit.trusted({**PLAY, **variables})
    lookup = lookup_loader.get("landfall.vps.deployed", loader=DataLoader(), templar=Templar(DataLoader(), known))
    assert lookup.run([name, "never-heard-of"], {**known, "ansible_facts": state}) == ([name] if there else [])


def test_a_component_is_there_too_if_its_role_calls_it_otherwise() -> None:
    records = {"shop-web": {"meta": {"role": "shop"}}}
    assert declared.is_there("shop", {}, lambda value: value, records)


def test_roles_ask_in_this_one_way_only() -> None:
    """No role decides by ``<other>_enabled``, which is text at times and says nothing of what is deployed."""
    found = []
    for folder in ("defaults", "tasks", "templates", "files"):
        for path in sorted(path for path in rolekit.ROLES.glob(f"*/{folder}/**/*") if path.is_file()):
            content, own = path.read_text(encoding="utf-8"), path.relative_to(rolekit.ROLES).parts[0]
            others = set(re.findall(r"\b([a-z_]+)_enabled\b", content)) & {*rolekit.component_names()}
            found += [f"{path.relative_to(rolekit.ROLES)}: {name}_enabled" for name in sorted(others - {own})]
            found += [f"{path.relative_to(rolekit.ROLES)}: '_enabled'"] if "'_enabled'" in content else []
    assert not found, f"ask with query('landfall.vps.deployed', '<role>'): {found}"
