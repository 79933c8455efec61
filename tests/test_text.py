"""Inventories as files: what YAML would change, and what no format allows, is refused by the variable's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.template import Templar
from ansible.vars.manager import VariableManager
from ansible_collections.landfall.vps.plugins.plugin_utils import formats, specs
from ansible_collections.landfall.vps.plugins.plugin_utils.origin import Sources

from tests import rolekit

ROLES = rolekit.role_names()
SPECS = specs.role_specs(str(rolekit.ROLES))
SAID = {role: formats.load(str(rolekit.ROLES), role) for role in ROLES}
VAULT = VaultSecret(b"a test's own")


def faults(folder: Path, inventory: str, name: str = "hosts.yml", roles: tuple[str, ...] = ()) -> list[str]:
    """What the role landfall says to an inventory in a file whose ``vars`` are these lines."""
    path = folder / name
    if name.endswith(".yml"):
        inventory = "all:\n  hosts: {vps: {}}\n  vars:\n    x_last: 1\n" + "".join(
            f"    {line}\n" for line in inventory.splitlines()
        )
    path.write_text(inventory, "utf-8")
    loader = DataLoader()
    loader.set_vault_secrets([("default", VAULT)])
    found = InventoryManager(loader, sources=[str(path)])
    own = VariableManager(loader, found).get_vars(host=found.get_host("vps"))
    values = {**rolekit.inventory(folder), **own}
    templar = Templar(loader=loader, variables=values)
    return specs.inventory_faults(
        roles or ROLES,
        SPECS,
        list(values),
        lambda name: templar.template(values[name]),
        said=SAID,
        sources=Sources(loader.get_text_file_contents, str(rolekit.ROLES) + "/"),
        written=values,
    )


def service(*lines: str) -> str:
    head = ["app_services:", "  - name: api", "    image: example/api:1.0.0", "    port: 8000", "    health: /health"]
    return "\n".join([*head, *(f"    {line}" for line in lines)]) + "\n"


def test_the_defaults_of_all_roles_are_right(tmp_path: Path) -> None:
    assert faults(tmp_path, "") == []


def test_an_ordinary_inventory_is_right(tmp_path: Path) -> None:
    good = service(
        "environment: {PORT: 8000, DEBUG: true, EMPTY: '', VERSION: '1.10', HALF: 0.5, URL: \"{{ url }}\", N: -1}",
        "command: [run, 017x, --port, 80, \"{{ 8000 }}\", '1e3', 2001:db8::1]",
        "secrets: {TOKEN: '', KEY: \"{{ 'a' * 3 }}\"}",
        "limits: {cpus: 0.50, memory: 1.5g}",
        "queues: [celery]",
        "volumes:",
    )
    assert faults(tmp_path, good + "url: http://x/\nprometheus_retention_size: 1024MB\n") == []


# As YAML has it, and as text
CHANGED = {
    "017": "15", "1.10": "1.1", "12:30": "750", "12:30:45": "45045", "1.0e+3": "1000.0", "yes": "true", "No": "false",
    "off": "false", "True": "true", "0x1F": "31", "1_000": "1000", "+5": "5", "0b11": "3", ".5": "0.5", "1.": "1.0",
    ".inf": "inf", "!!float 3": "3.0", "!!bool yes": "true",
}  # fmt: skip
PLACES = ["environment: {{A: {0}}}", "command: [run, {0}]", 'environment: {{A: "{{{{ v }}}}"}}']


@pytest.mark.parametrize(
    ("written", "where"),
    # A boolean of another variable has no place of its own: it is true or false, as everywhere
    [
        (one, place)
        for one in CHANGED
        for place in PLACES
        if place != PLACES[2] or CHANGED[one] not in ("true", "false")
    ],
)
def test_what_yaml_reads_otherwise_is_refused(written: str, where: str, tmp_path: Path) -> None:
    found = faults(tmp_path, service(where.format(written)) + f"v: {written}\n", roles=("app",))
    path = "app_services[0].command[1]" if "command" in where else "app_services[0].environment.A"
    (fault,) = found
    assert fault.startswith(path + ": ")
    assert "write it in quotes" in fault
    if not written.startswith("!!"):
        assert f"{written} is read as {CHANGED[written]}" in fault
    assert faults(tmp_path, service(where.format(f"'{written}'")) + f"v: '{written}'\n", roles=("app",)) == []


@pytest.mark.parametrize(
    ("line", "path", "words"),
    [
        ("environment: {A: }", "environment.A", "has no value; write '' for an empty one, or leave it out"),
        ("environment: {A: ~}", "environment.A", "has no value"),
        ("environment: {A: null}", "environment.A", "has no value"),
        ("environment: {A: [a, b]}", "environment.A", "is a list, where text is wanted"),
        ("environment: {A: {b: c}}", "environment.A", "is a map, where text is wanted"),
        ("environment: {A: !!set {b, c}}", "environment.A", ", where text is wanted"),
        ("environment: {A: 2026-01-01}", "environment.A", "is a date, where text is wanted"),
        ("environment: {A: 2026-01-01 10:00:00}", "environment.A", "is a date, where text is wanted"),
        ('environment: {A: "{{ [1, 2] }}"}', "environment.A", "is a list"),
        ('environment: {A: "{{ none }}"}', "environment.A", "has no value"),
        ('environment: {A: "{{ 1.10 }}"}', "environment.A", "is read as 1.1, which may have been written otherwise"),
        ('environment: {A: "a\\0b"}', "environment.A", "holds a NUL character"),
        ("environment: {on: x}", "environment", "has the key True"),
        ("environment: {1: x}", "environment", "has the key 1"),
        ("environment: {A-B=C: x}", "environment", "is no name of an environment variable"),
        ("environment: text", "environment", "is one text; write a map|write a map|is no text"),
        ("secrets: {TOKEN: }", "secrets.TOKEN", "has no value"),
        ("secrets: {TOKEN: 017}", "secrets.TOKEN", "write it in quotes"),
        ("secrets: {TOKEN: 12345678.50}", "secrets.TOKEN", "write it in quotes"),
        ("secrets: {../../../x: a}", "secrets", "is no name of a secret"),
        ("secrets: {/etc/x: a}", "secrets", "is no name of a secret"),
        ("secrets: {'': a}", "secrets", "is no name of a secret"),
        ("secrets: {a: x, A: y}", "secrets", "would be one file"),
        ("queues: celery", "queues", "is one text; write a list"),
        ("queues: ['a,b']", "queues[0]", "has a comma"),
        ("command: a | b", "command", "no shell runs it"),
        ('command: "a \'b"', "command", "open quote"),
        ("volumes: [data]", "volumes[0]", "is no mount"),
        ("tmpfs: [cache]", "tmpfs[0]", "is no tmpfs"),
        ("health_interval: 10", "health_interval", "is no duration here"),
        ("stop_grace_period: 1.5m", "stop_grace_period", "is no duration here"),
        ("metrics: {port: 8000, interval: 1.5m}", "metrics.interval", "is no duration here"),
        ("metrics: {port: 8000, path: metrics}", "metrics.path", "is no path of a URL"),
        ("ready: ready", "ready", "is no path of a URL"),
        ("ready: '/a b'", "ready", "is no path of a URL"),
        ("limits: {memory: 1x}", "limits.memory", "is no size here"),
        ("limits: {cpus: 1:30}", "limits.cpus", "is written 1:30"),
        ("replicas: 010", "replicas", "is written 010 and read as 8"),
        ("replicas: '1e1'", "replicas", "not a plain number"),
        ("user: a b", "user", "is no user"),
    ],
)
def test_a_service_is_refused_by_the_path_of_what_is_wrong(line: str, path: str, words: str, tmp_path: Path) -> None:
    found = faults(tmp_path, service(line), roles=("app",))
    mine = [fault for fault in found if fault.startswith(f"app_services[0].{path}: ") or f"[0].{path} " in fault]
    assert any(word in fault for fault in found for word in words.split("|")), found
    assert mine or "map" in words, found


@pytest.mark.parametrize(
    "name", ["Api", "a_b", "a.b", "a b", "a" * 64, "-a", "a-", "", "\u00e4", "../x", "a/b", "a:b", "a\nb"]
)
def test_names_are_labels_of_the_dns(name: str, tmp_path: Path) -> None:
    quoted = json.dumps(name)
    for text, path in (
        (service().replace("name: api", f"name: {quoted}"), "app_services[0].name: "),
        (f"celery_workers: [{{name: {quoted}, queues: [a]}}]\n", "celery_workers[0].name: "),
        (
            f"alertmanager_receivers: [{{name: {quoted}, type: webhook, url: 'https://x/'}}]\n",
            "alertmanager_receivers[0]",
        ),
        (f"blackbox_exporter_targets: [{{name: {quoted}, url: 'https://x/'}}]\n", "blackbox_exporter_targets[0].name"),
    ):
        assert any(fault.startswith(path) and "is no name" in fault for fault in faults(tmp_path, text)), text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("prometheus_scrape_interval: 1.5m", "prometheus_scrape_interval: '1.5m' is no duration here"),
        ("prometheus_scrape_interval: 5s", "prometheus_scrape_timeout: 10s is more than prometheus_scrape_interval"),
        ("prometheus_retention_size: 5gb", "prometheus_retention_size: '5gb' is no size here; write one such as 512MB"),
        ("prometheus_external_url: \"http://x/\\u2028\"", "prometheus_external_url"),
        ("prometheus_external_labels: {a-b: c}", "prometheus_external_labels: 'a-b' is no name of a label"),
        ("prometheus_external_labels: {zone: 017}", "prometheus_external_labels.zone: 017 is read as 15"),
        ("prometheus_extra_targets: [{job: x, targets: [db]}]", "prometheus_extra_targets[0].targets[0]: 'db'"),
        ("alertmanager_retention: 5d", "alertmanager_retention: '5d' is no duration here"),
        ("alertmanager_retention: 1h", "alertmanager_repeat_interval: 12h is more than alertmanager_retention (1h)"),
        ("alertmanager_critical_wait: soon", "alertmanager_critical_wait: 'soon' is no duration"),
        ("alertmanager_group_by: [a-b]", "alertmanager_group_by[0]"),
        ("alertmanager_heartbeat_url: \"https://x/\\u2028\"", "alertmanager_heartbeat_url: is no URL"),
        ("caddy_upstream_keepalive: 60", "caddy_upstream_keepalive: '60' is no duration"),
        ("caddy_upstream_patience: 1w", "caddy_upstream_patience: '1w' is no duration"),
        ("caddy_hsts: 'max-age=1\"'", "caddy_hsts"),
        ("caddy_acme_email: '{env.X}@x'", "caddy_acme_email"),
        ("alloy_refresh_interval: 1d", "alloy_refresh_interval: '1d' is no duration"),
        ("alloy_exclude_containers: ['(']", "alloy_exclude_containers[0]: '(' is no regular expression"),
        ("alloy_exclude_containers: ['(?!a)b']", "what RE2 does not know"),
        ("blackbox_exporter_timeout: 1d", "blackbox_exporter_timeout: '1d' is no duration"),
        ("grafana_home_dashboard: ../../etc/x", "grafana_home_dashboard"),
        ("redis_password: ''", "redis_password: is empty"),
        ("redis_password: \"a\\n\"", "redis_password: must be one line"),
        ("redis_password: 017", "redis_password: is no text"),
        ("redis_maxmemory: 96 pages", "redis_maxmemory: '96 pages' is no size"),
        ("redis_appendfsync: no", "redis_appendfsync: is read as false"),
        ("celery_exporter_broker_url: 'redis://:p%ss@redis/0'", "celery_exporter_broker_url: is no URL of a broker"),
        ("landfall_network: a b", "landfall_network"),
        ("landfall_external_volumes: [uploads, shop_data]", ""),
        ("landfall_external_volumes: ['a b']", "landfall_external_volumes[0]: 'a b' is no name for Docker"),
        ("landfall_subnet: 300.1.1.0/24", "landfall_subnet"),
        ("loki_max_line_size: 1.5MB", "loki_max_line_size"),
        ("app_trusted_proxies: [proxy]", "app_trusted_proxies[0]: 'proxy' is no address or network"),
        ("docker_log_max_size: 10 apples", "docker_log_max_size"),
        ("cadvisor_container_labels: ['a,b']", "cadvisor_container_labels[0]"),
        ("postgres_exporter_port: 010", ""),
        ("prometheus_scrape_interval: 0s", "prometheus_scrape_interval: '0s' is no time at all"),
        ("prometheus_retention_time: 0d", "prometheus_retention_time: '0d' is no time at all"),
        ("prometheus_extra_targets: [{job: x, targets: ['db:1'], timeout: 0s}]", "targets[0].timeout: '0s' is no time"),
        ("alertmanager_group_interval: 0m", "alertmanager_group_interval: '0m' is no time at all"),
        ("caddy_upstream_keepalive: 0s", "caddy_upstream_keepalive: '0s' is no time at all"),
        ("cadvisor_housekeeping_interval: 0h0m0s", "cadvisor_housekeeping_interval: '0h0m0s' is no time at all"),
        ("alloy_drop_older_than: 0s", "alloy_drop_older_than: '0s' is no time at all"),
        ("celery_exporter_job: 'a\"b'", "celery_exporter_job: 'a\"b' has a quote, a backslash or a brace"),
        ("celery_exporter_job: my celery", ""),
        ("prometheus_extra_targets: [{job: '{{ \"{{\" }}x', targets: ['db:1']}]", "targets[0].job: '{{x' has a quote"),
        ("landfall_root: relative", "landfall_root: 'relative' is no folder for the stack"),
        ("landfall_root: /opt/../etc", "landfall_root: '/opt/../etc' is no folder for the stack"),
        ("landfall_root: /opt/a b", "landfall_root: '/opt/a b' is no folder for the stack"),
        ("landfall_root: /", "landfall_root: '/' is no folder for the stack"),
        ("landfall_root: /srv", "landfall_root: '/srv' is a folder of the system"),
        ("landfall_root: /etc/landfall", "landfall_root: '/etc/landfall' is a folder of the system"),
        ("landfall_root: /srv/shop.v1/", ""),
        ("alertmanager_critical_wait: 0s", ""),
        ("caddy_upstream_patience: 0s", ""),
        ("prometheus_retention_time: 300y", "prometheus_retention_time: '300y' is longer than any program can count"),
        ("grafana_memory: 512", "grafana_memory: '512' is less than the 6m that Docker takes at least"),
        ("prometheus_memory: 0.5k", "prometheus_memory: '0.5k' is less than the 6m"),
        ("loki_memory: 9999999999g", "loki_memory: '9999999999g' is more than any program can count"),
        ("alloy_memory: 6m", ""),
    ],
)  # fmt: skip
def test_formats_are_checked_with_the_inventory(line: str, words: str, tmp_path: Path) -> None:
    role = max((role for role in ROLES if line.startswith(role + "_")), key=len)
    site = "caddy_app_host: app.example.org\n" if role == "caddy" else ""
    found = faults(tmp_path, f"{line}\n{site}", roles=(role,))
    assert any(words in fault for fault in found) if words else found == [], found


def test_what_an_item_takes_from_a_wrong_variable_is_told_of_that_alone(tmp_path: Path) -> None:
    """The reference application has its environment of app_environment."""
    assert faults(tmp_path, "app_environment: {A: 017}\n", roles=("app",)) == [
        "app_environment.A: 017 is read as 15; write it in quotes: '017'"
    ]
    own = service('environment: "{{ app_environment }}"', "replicas: 0")
    found = faults(tmp_path, own + "app_environment: {A: 017}\n", roles=("app",))
    assert sorted(fault.split(":")[0] for fault in found) == ["app_environment.A", "app_services[0].replicas"]


def test_a_secret_is_never_repeated(tmp_path: Path) -> None:
    lines = "redis_password: ' s3cr3tvalue'\ngrafana_admin_password: 1234567890123.10\n" + service(
        "secrets: {T: 9876.50}"
    )
    text = "\n".join(faults(tmp_path, lines))
    assert all(name in text for name in ("redis_password", "grafana_admin_password", "app_services[0].secrets.T"))
    assert not any(part in text for part in ("s3cr3tvalue", "1234567890123", "9876"))


def test_values_of_an_ini_inventory_are_judged_too(tmp_path: Path) -> None:
    ini = "vps\n[all:vars]\nprometheus_external_labels={'zone': 1.10, 'row': 7}\n"
    (fault,) = faults(tmp_path, ini, "hosts.ini", roles=("prometheus",))
    assert fault.startswith("prometheus_external_labels.zone: ")


def test_values_of_a_vault_are_judged_too(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    text = VaultLib([("default", VAULT)]).encrypt(b"app_environment: {A: 017, B: 8000}\n", VAULT)
    (tmp_path / "group_vars" / "all.yml").write_bytes(text)
    found = faults(tmp_path, "", roles=("app",))
    assert "app_environment.A: 017 is read as 15; write it in quotes: '017'" in found
    assert not any(".B" in fault for fault in found)


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    values = {**rolekit.inventory(tmp_path), "app_environment": json.loads('{"A": "\\ud83d"}')}
    templar = Templar(loader=DataLoader(), variables=values)
    found = specs.inventory_faults(["app"], SPECS, list(values), lambda name: templar.template(values[name]), said=SAID)
    assert any(fault.startswith("app_environment.A: has half of a character") for fault in found)


def test_without_a_place_only_what_is_plain_passes(tmp_path: Path) -> None:
    values = {**rolekit.inventory(tmp_path), "app_environment": {"A": 15, "B": True, "C": 1.1, "D": None}}
    templar = Templar(loader=DataLoader(), variables=values)
    found = specs.inventory_faults(["app"], SPECS, list(values), lambda name: templar.template(values[name]), said=SAID)
    assert [fault.split(":")[0] for fault in found if fault.startswith("app_environment")] == [
        "app_environment.C",
        "app_environment.D",
    ]


@pytest.mark.parametrize("role", ROLES)
def test_the_formats_file_repeats_no_rule(role: str) -> None:
    own = SAID[role]["formats"]
    assert not [path for path, form in own.items() if formats.format_of(path, {}) == form]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_write_numbers_as_they_are_printed(role: str) -> None:
    """A run trusts them and does not read the files again."""
    path = rolekit.ROLES / role / "defaults" / "main.yml"
    if not path.exists():
        return
    values = {name: (role, value) for name, value in rolekit.defaults(role).items()}
    sources = Sources(lambda file: Path(file).read_text("utf-8"))
    for name, (_, value) in values.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            assert sources.written(value, None, name) == str(value), name
