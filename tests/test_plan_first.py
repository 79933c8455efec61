"""The first task of a play knows what the others will do: the table, and when a host is done after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import ChainMap
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.landfall.vps.plugins.module_utils import plan as planning
from ansible_collections.landfall.vps.plugins.plugin_utils import foresight, seam
from ansible_collections.landfall.vps.plugins.plugin_utils.foresight import Outlook
from ansible_collections.landfall.vps.plugins.plugin_utils.planned import Planned
from ansible_collections.landfall.vps.plugins.plugin_utils.render import BRACKETS, Rendered

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

# Looks ahead on a VPS where nothing is, or where all that it finds planned has been deployed
AHEAD = """
import json
from ansible.plugins.action import ActionBase
from ansible_collections.landfall.vps.plugins.plugin_utils import foresight

def deployed(planned):
    state = {"records": {}, "files": {}, "containers": {}, "images": {}, "volumes": {}, "networks": {}, "homes": []}
    state.update({"root": "/opt/landfall", "been_here": True, "deployed_before": []})
    for one in planned:
        desired = one.rendered.desired
        kept = {n: {"service": c.service, "image": c.image, "config_hash": "x"} for n, c in desired.containers.items()}
        state["records"][one.name] = {
            "name": one.name, "files": dict(desired.files), "containers": kept, "images": {},
            "meta": dict(desired.meta), "digest": desired.digest, "proven": True}
        state["files"].update(desired.files)
        for name, found in kept.items():
            project = one.claim["project"]
            labels = {"org.landfall.stack": one.claim["stack"], "org.landfall.component": one.name,
                      "com.docker.compose.project": project, "com.docker.compose.service": found["service"]}
            state["containers"][name] = {
                "id": name, "image_id": "i", "state": "running", "health": "healthy", "config_hash": "x",
                "labels": labels, "project": project, "service": found["service"], "stack": one.claim["stack"],
                "component": one.name, "working_dir": "/opt/landfall/" + one.name, "networks": {}}
            state["images"][found["image"]] = {"id": "i", "labels": {}}
    return state

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        found = foresight.look_ahead(self, task_vars, deployed([]))
        if self._task.args.get("deployed", True):
            found = foresight.look_ahead(self, task_vars, deployed(found.planned))
        line = {"case": self._task.args["case"], "nothing_left": found.nothing_left, "others": found.others,
                "later": found.later, "faults": found.faults, "known": found.known, "verifies": found.verifies,
                "planned": {one.name: [one.plan.action, list(one.plan.reasons)] for one in found.planned},
                "compose": {one.name: one.rendered.contents.get(one.name + "/compose.yaml", b"").decode()
                            for one in found.planned}}
        with open(self._task.args["to"], "a") as handle:
            handle.write(json.dumps(line) + "\\n")
        return {"changed": False}
"""
COMPOSE = """
name: {{ landfall_component }}
services:
  {{ landfall_component }}:
    image: registry.example.com/thing:1.0.{{ one_level }}
    command: ["{{ one_task_value }}", "{{ one_role_value }}"]
"""
COMPONENT: dict[str, Any] = {
    "name": "Deploy it",
    "landfall.vps.component": {"name": "one", "state": "{{ one_enabled | ternary('present', 'absent') }}"},
    "vars": {"one_task_value": "{{ one_level }} of the task"},
}
ONE: dict[str, Any] = {"ansible.builtin.import_role": {"name": "one"}, "tags": "one"}
SAY: dict[str, Any] = {"name": "Say something", "ansible.builtin.debug": {"msg": "hello"}}
NEVER = {**SAY, "when": "one_level == 99"}
ASKS = {**SAY, "when": "not_registered_yet is changed"}
NOTIFIES = {**SAY, "changed_when": True, "notify": "Heard", "when": "one_level == 99"}
REFUSED = "{{ '' | landfall.vps.refuse_unless(false, 'one_level: is no level; write 1') }}"
CASES: dict[str, dict[str, Any]] = {
    "nothing differs": {"tasks": [ONE]},
    "new": {"tasks": [ONE], "deployed": False},
    "a task that is not for now": {"tasks": [NEVER, ONE], "post_tasks": [{**SAY, "tags": "never"}]},
    "a task of somebody's": {"tasks": [ONE, SAY]},
    "a role of somebody's": {"tasks": [ONE, {"ansible.builtin.include_role": {"name": "other"}}]},
    "a task that ends the play": {"tasks": [ONE], "post_tasks": [SAY]},
    "a check that Ansible adds": {"tasks": [{"ansible.builtin.validate_argument_spec": {"argument_spec": {}}}, ONE]},
    "a task that asks for what comes": {"tasks": [ASKS, ONE]},
    "a task in a block": {"tasks": [{"block": [ONE], "always": [SAY]}]},
    "a block that is not for now": {"tasks": [{"block": [SAY], "when": "one_level == 99"}, ONE]},
    "a rescue": {"tasks": [{"block": [ONE], "rescue": [SAY]}]},
    "notified before": {"before": [NOTIFIES], "tasks": [ONE]},
    "notified and done before": {"pre_tasks": [NOTIFIES], "tasks": [ONE]},
    "a component in a loop": {"tasks": [{"ansible.builtin.import_role": {"name": "looped"}}]},
    "a refusal": {"tasks": [{**ONE, "vars": {"one_level": "{{ undefined_yet }}"}}]},
    "a refusal after somebody's task": {"tasks": [SAY, {**ONE, "vars": {"one_level": "{{ undefined_yet }}"}}]},
    "a refused value after somebody's task": {"tasks": [SAY, {**ONE, "vars": {"one_level": REFUSED}}]},
    "off": {"tasks": [{**ONE, "vars": {"one_enabled": False}}], "deployed": False},
    "verified in the same play": {"tasks": [ONE, {"name": "Verify", "landfall.vps.verify": {}}]},
}


def _role(home: Path, name: str, tasks: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
    contents: dict[str, Any] = {"tasks": tasks, "defaults": defaults, "vars": {"one_role_value": "of the role"}}
    for folder, content in contents.items():
        path = home / "roles" / name / folder
        path.mkdir(parents=True)
        (path / "main.yml").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What was known ahead in each of the cases, each a play of one run of Ansible."""
    home = tmp_path_factory.mktemp("ahead")
    (home / "action_plugins").mkdir()
    (home / "action_plugins" / "ahead.py").write_text(AHEAD)
    _role(home, "one", [COMPONENT], {"one_level": 3, "one_enabled": True})
    (home / "roles" / "one" / "templates").mkdir()
    (home / "roles" / "one" / "templates" / "compose.yaml.j2").write_text(COMPOSE)
    _role(home, "looped", [{**COMPONENT, "loop": [1, 2]}], {})
    _role(home, "other", [SAY], {})
    plays: list[dict[str, Any]] = []
    for name, case in CASES.items():
        deployed = case.get("deployed", True)
        ahead: dict[str, Any] = {"ahead": {"case": name, "to": str(home / "seen"), "deployed": deployed}}
        stop: dict[str, Any] = {"ansible.builtin.meta": "end_play"}
        sections: dict[str, Any] = {key: case[key] for key in ("pre_tasks", "post_tasks") if key in case}
        tasks = [*case.get("before", []), ahead, stop, *case["tasks"]]
        handlers: list[dict[str, Any]] = [{"name": "Heard", "ansible.builtin.debug": {"msg": "heard"}}]
        plays.append({"hosts": "all", "gather_facts": False, "force_handlers": True, "connection": "local",
                      "tasks": tasks, "handlers": handlers, **sections})  # fmt: skip
    (home / "play.yml").write_text(json.dumps(plays))
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": ""}
    argv = [str(BIN / "ansible-playbook"), "-i", "vps,", str(home / "play.yml"), "-e", "landfall_root=/opt/landfall"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=300, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (home / "seen").read_text().splitlines()]
    assert [line["case"] for line in lines] == list(CASES), done.stdout
    return {line["case"]: line for line in lines}


DONE = ("nothing differs", "a task that is not for now", "a block that is not for now", "a rescue",
        "notified and done before", "a check that Ansible adds")  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_host_is_done_only_where_nothing_is_left_for_it(seen: dict[str, dict[str, Any]], case: str) -> None:
    assert seen[case]["known"]
    assert seen[case]["nothing_left"] == (case in (*DONE, "off")), seen[case]


@pytest.mark.parametrize(
    ("case", "others"),
    [
        ("a task of somebody's", ["Say something"]),
        ("a task that ends the play", ["Say something"]),
        ("a task that asks for what comes", ["Say something"]),
        ("a task in a block", ["Say something"]),
        ("notified before", ["Say something"]),
        ("a role of somebody's", ["ansible.builtin.include_role : other"]),
        ("verified in the same play", ["Verify"]),
    ],
)
def test_what_keeps_a_host_in_the_play_is_known(seen: dict[str, Any], case: str, others: list[str]) -> None:
    found = seen[case]["others"]
    assert found == others or (case.startswith("a role") and len(found) == 1), found
    assert seen[case]["verifies"] == (case == "verified in the same play")


def test_the_variables_of_role_task_and_import_are_those_of_the_task_itself(seen: dict[str, Any]) -> None:
    text = seen["new"]["compose"]["one"]
    assert 'command: ["3 of the task", "of the role"]' in text and "thing:1.0.3" in text
    assert seen["new"]["planned"] == {"one": [planning.CREATED, ["not deployed yet"]]}
    assert seen["off"]["planned"] == {"one": [planning.NONE, []]}


def test_what_does_not_render_refuses_the_run_unless_somebody_s_task_may_bring_it(seen: dict[str, Any]) -> None:
    (fault,) = seen["a refusal"]["faults"]
    assert "undefined_yet" in fault
    assert not seen["a refusal after somebody's task"]["faults"]
    assert "undefined_yet" in seen["a refusal after somebody's task"]["later"]["one"]
    assert "loops" in seen["a component in a loop"]["later"]["looped"]
    # No task can make a value right that is refused: on a new VPS the engine would be installed before it is told
    found = seen["a refused value after somebody's task"]
    assert not found["later"] and "one_level: is no level; write 1" in found["faults"][0]


# -- the table ----------------------------------------------------------------------------------------------------


def one(name: str, plan: planning.Plan, *services: str, actual: planning.Actual | None = None) -> Planned:
    containers = {service: planning.Container(service, "x:1") for service in services}
    desired = planning.Desired(name, True, {}, containers)
    return Planned({"name": name}, Rendered(desired, {}), plan, {}, actual or planning.Actual())


def test_the_table_says_what_happens_to_what_and_why() -> None:
    down = planning.Actual(containers={"worker": {"state": "exited"}, "beat": {"state": "running"}})
    gone = planning.Actual(containers={"old": {"state": "running"}})
    changed = {"shop/compose.yaml": "change"}
    ahead = Outlook(
        [
            one("redis", planning.Plan(planning.NONE), "redis"),
            one("new", planning.Plan(planning.CREATED, ("not deployed yet",), up=True), "web", "api"),
            one("shop", planning.Plan(planning.RECREATED, ("change: shop/compose.yaml",), changed), "a", "b"),
            one("api", planning.Plan(planning.RECREATED, ("change: api/secrets/x",), {}, force=("b",)), "a", "b"),
            one("prometheus", planning.Plan(planning.RELOADED, ("one", "two", "three", "four")), "prometheus"),
            one("exporter", planning.Plan(planning.UPDATED, ("rules",), receivers=("prometheus/rules.d",)), "exporter"),
            one("jobs", planning.Plan(planning.STARTED, ("worker is exited",)), "worker", "beat", actual=down),
            one("old", planning.Plan(planning.REMOVED, ("state is absent",)), actual=gone),
        ],
        {"mine": "'x' is undefined"},
    )
    assert foresight.told(ahead) == [
        "plan:",
        "  component   action    containers                       why",
        "  new         create    starts api, web                  not deployed yet",
        "  shop        recreate  restarts what differs of a, b    change: shop/compose.yaml",
        "  api         recreate  restarts b                       change: api/secrets/x",
        "  prometheus  reload    no restart                       one; two; 2 more",
        "  exporter    update    none; prometheus takes in files  rules",
        "  jobs        start     starts worker                    worker is exited",
        "  old         remove    stops old                        state is absent",
        "  mine        ?                                          planned when its turn comes: 'x' is undefined",
        "  1 component is as the inventory says",
    ]


def test_the_plan_announces_who_does_without_what_is_replaced_in_place() -> None:
    new = planning.Plan(planning.RECREATED, ("change: redis/compose.yaml",), up=True)
    meta = {"needs": ["redis"], "role": "app"}
    records = {"app-web": {"group": "app", "meta": meta}, "celery-worker": {"group": "celery", "meta": meta}}
    for known, said in (
        (records, ["  redis is replaced in place: app-web, celery-worker are without it meanwhile"]),
        ({"app-web": records["app-web"]}, ["  redis is replaced in place: app-web is without it meanwhile"]),
        ({}, []),
    ):
        assert foresight.told(Outlook([one("redis", new, "redis")], records=known))[3:] == said
    reload = planning.Plan(planning.RELOADED, ("change",))
    assert len(foresight.told(Outlook([one("redis", reload, "redis")], records=records))) == 3


def test_nothing_to_do_is_one_line_and_a_blind_first_task_says_so() -> None:
    same = Outlook([one("redis", planning.Plan(planning.NONE)), one("app", planning.Plan(planning.NONE))])
    assert foresight.told(same) == ["plan: nothing to do, 2 components are as the inventory says"]
    assert foresight.told(Outlook()) == []
    blind = Outlook(known=False)
    assert "each component tells its own" in foresight.told(blind)[0] and not blind.nothing_left


@pytest.mark.parametrize("name", ["verify", "status"])
def test_playbooks_that_compare_know_no_other_list_of_roles_than_site(name: str) -> None:
    (play,) = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8"))
    assert play["ansible.builtin.import_playbook"] == "../site.yml"
    assert play["vars"]["landfall_compare"] is True


# -- variables are evaluated once -----------------------------------------------------------------------------------

VALUES = {
    "level": 3,
    "inner": "{{ level + 1 }}",
    "items": [{"name": "{{ inner }}", "back": "a\\b"}],
    "facts": {"deep": {"er": "{{ inner }}"}},
    "gone": "{{ no_such_variable }}",
    "braces": "[[ level ]]",
}
TEXTS = (
    "{{ items[0].name }} {{ facts.deep.er }} {{ items | to_json }} {{ braces }}",
    "{{ more | default('nothing') }} {{ inner * 2 }} {{ 'a\\\\b' }}",
    "{% for item in items %}{{ item.back }}{% endfor %}",
    "{{ gone }}",
)


def rendered(templar: Any, text: str, **options: Any) -> str:
    try:
        return repr(templar.template(seam.trusted(text), **options))
    except AnsibleError as error:
        return f"{type(error).__name__}: {error}"


def trusted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return seam.trusted(value) if isinstance(value, str) else value


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("escape", [True, False])
def test_what_is_evaluated_once_comes_to_the_same(text: str, escape: bool) -> None:
    values = trusted(VALUES)
    action: Any = SimpleNamespace(_templar=Templar(loader=DataLoader(), variables={}))
    known, templar = seam.remembering(action, values)
    plain = Templar(loader=DataLoader(), variables=values)
    for _turn in range(2):
        assert rendered(templar, text, escape_backslashes=escape) == rendered(plain, text, escape_backslashes=escape)
    more = {"more": "something", "level": 9}
    beside = seam.templar_with(templar, ChainMap(dict(more), cast("dict[str, Any]", known)))
    assert "something" in rendered(beside, "{{ more }} {{ level }}") and "9" in rendered(beside, "{{ level }}")


def test_other_brackets_are_another_text() -> None:
    action: Any = SimpleNamespace(_templar=Templar(loader=DataLoader(), variables={}))
    _known, templar = seam.remembering(action, trusted(VALUES))
    text = "{{ level }}[[ level ]]"
    assert rendered(templar, text) == "'3[[ level ]]'"
    assert rendered(templar, text, overrides=BRACKETS) == "'{{ level }}3'"
    assert rendered(templar, text) == "'3[[ level ]]'"


def test_a_variable_is_evaluated_once_for_all_texts() -> None:
    action: Any = SimpleNamespace(_templar=Templar(loader=DataLoader(), variables={}))
    values = trusted({"number": "{{ 1000000000 | random }}"})
    known, templar = seam.remembering(action, values)
    assert known is not values
    assert rendered(templar, "{{ number }}") == rendered(templar, "{{ number }}")
    assert rendered(Templar(loader=DataLoader(), variables=values), "{{ number }}") != rendered(templar, "{{ number }}")


def test_an_ansible_without_it_evaluates_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ansible._internal._templating._lazy_containers", None)
    action: Any = SimpleNamespace(_templar=Templar(loader=DataLoader(), variables={}))
    values = trusted(VALUES)
    known, templar = seam.remembering(action, values)
    assert known is values and rendered(templar, "{{ items[0].name }}") == "4"
