"""What the engine needs of Ansible beyond its public interfaces, and what it does without."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.landfall.vps.plugins.plugin_utils import compiled, remote, seam

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "collections/ansible_collections/landfall/vps/plugins"
SAID = {"rc": 0, "stdout": f'{remote.MARK}{{"by": "pipe"}}\n', "stderr": ""}


def action(
    *, has_pipelining: bool = True, become: Any = None, options: Any = None, default: bool = False, **more: Any
) -> Any:
    """An action plugin as seam.run sees it; it remembers how its module was called."""
    calls: list[dict[str, Any]] = []

    def module(**call: Any) -> dict[str, Any]:
        calls.append(call)
        return {"ended": 0, "stdout": f'{remote.MARK}{{"by": "module"}}\n', "stderr": "", "changed": False}

    given = {"pipelining": True} if options is None else options
    connection = SimpleNamespace(has_pipelining=has_pipelining, become=become, get_option=given.__getitem__)
    return SimpleNamespace(
        calls=calls,
        _connection=connection,
        _play_context=SimpleNamespace(pipelining=default),
        **{"_low_level_execute_command": lambda *_a, **_k: SAID, "_execute_module": module, **more},
    )


@pytest.mark.parametrize(
    ("given", "by"),
    [
        ({}, "pipe"),
        ({"become": SimpleNamespace(pipelining=True)}, "pipe"),
        ({"become": SimpleNamespace()}, "pipe"),
        ({"become": SimpleNamespace(pipelining=False)}, "module"),  # su
        ({"has_pipelining": False}, "module"),  # paramiko and others refuse what comes by standard input
        ({"options": {"pipelining": False}}, "module"),
        ({"options": {}}, "module"),
        ({"options": {}, "default": True}, "pipe"),
    ],
)
def test_a_program_is_piped_where_that_is_allowed_and_else_an_ordinary_module(given: dict[str, Any], by: str) -> None:
    plugin = action(**given)
    assert remote.ask(plugin, "/opt/python", "print()") == {"by": by}
    if by == "module":
        [call] = plugin.calls
        assert call["module_name"] == "landfall.vps.program" and call["module_args"] == {"source": "print()"}
        assert call["task_vars"]["ansible_python_interpreter"] == "/opt/python"


def test_a_core_without_the_private_command_uses_the_module() -> None:
    plugin = action()
    del plugin._low_level_execute_command
    assert remote.ask(plugin, "python3", "print()") == {"by": "module"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"failed": True, "rc": 1, "module_stderr": "su: Authentication failure", "msg": "MODULE FAILURE"}, "su: Auth"),
        ({"failed": True, "msg": "no python here", "rc": 127}, "no python here; install python3"),
        ({"ended": 1, "stdout": "", "stderr": "DockerError: gone"}, "ended with 1: DockerError: gone"),
        ({"failed": True}, "nothing was said"),
    ],
)
def test_a_module_that_does_not_end_well_says_why(answer: dict[str, Any], words: str) -> None:
    plugin = action(has_pipelining=False, _execute_module=lambda **_call: answer)
    with pytest.raises(remote.TripError, match=words):
        remote.ask(plugin, "python3", "print()")


def run_module(source: str) -> dict[str, Any]:
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"source": source, "_ansible_check_mode": True}})
    code = (
        "import runpy, sys; from ansible.module_utils import basic; basic._ANSIBLE_ARGS = sys.argv[1].encode(); "
        "basic._ANSIBLE_PROFILE = 'legacy'; runpy.run_path(sys.argv[2], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, arguments, str(PLUGINS / "modules/program.py")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_module_hands_on_what_the_program_said_and_runs_in_check_mode() -> None:
    answer = run_module("import sys; print('ünï'); sys.stderr.write('oh'); sys.exit(3)")
    assert (answer["ended"], answer["stdout"], answer["stderr"]) == (3, "ünï\n", "oh")
    assert "source" not in answer.get("invocation", {}).get("module_args", {}) or "sys.exit" not in json.dumps(answer)


def test_details_stand_below_the_banner_of_their_task(tmp_path: Path) -> None:
    folder = tmp_path / "action_plugins"
    folder.mkdir()
    (folder / "speak.py").write_text(
        "from ansible.plugins.action import ActionBase\n"
        "from ansible_collections.landfall.vps.plugins.plugin_utils import seam\n"
        "class ActionModule(ActionBase):\n"
        "    def run(self, tmp=None, task_vars=None):\n"
        "        seam.say(task_vars, 'redis: created')\n"
        "        return {'changed': True}\n"
    )
    tasks = [{"name": "First", "ping": {}, "when": False}, {"name": "Second", "speak": {}}]
    play = [{"hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    for inventory, said in (("a,", "redis: created"), ("a,b", "b: redis: created")):
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", inventory, str(tmp_path / "play.yml")],
            cwd=ROOT,  # with the project's ansible.cfg
            env={**os.environ, "ANSIBLE_ACTION_PLUGINS": str(folder), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        lines = [line.strip() for line in done.stdout.splitlines()]
        banner = next(n for n, line in enumerate(lines) if line.startswith("TASK [Second]"))
        assert banner < lines.index(said) < lines.index(f"changed: [{inventory[-1].strip(',') or 'a'}]"), done.stdout


def test_arguments_that_a_plugin_evaluates_ask_for_each_variable_once(tmp_path: Path) -> None:
    folder, asked, told = tmp_path / "action_plugins", tmp_path / "asked", tmp_path / "told"
    folder.mkdir()
    (folder / "tell.py").write_text(
        "import json, pathlib\n"
        "from ansible_collections.landfall.vps.plugins.plugin_utils import seam\n"
        "class ActionModule(seam.OwnArguments):\n"
        "    def run(self, tmp=None, task_vars=None):\n"
        "        self.evaluate(seam.remembering(self, task_vars)[1])\n"
        f"        pathlib.Path({str(told)!r}).write_text(json.dumps(self._task.args))\n"
        "        return {}\n"
    )
    counted = f"{{{{ lookup('pipe', 'echo once >> {asked}; echo seen') }}}}"
    task = {"tell": {"a": "{{ counted }}", "b": ["{{ counted }}"], "none": "{{ omit }}"}, "vars": {"counted": counted}}
    (tmp_path / "play.yml").write_text(
        json.dumps([{"hosts": "all", "gather_facts": False, "connection": "local", "tasks": [task]}])
    )
    subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "a,", str(tmp_path / "play.yml")],
        cwd=ROOT, env={**os.environ, "ANSIBLE_ACTION_PLUGINS": str(folder)}, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(told.read_text()) == {"a": "seen", "b": ["seen"]}
    assert asked.read_text() == "once\n"


PRIVATE = {"Display", "trust_as_template", "copy_with_new_env", "evaluate_expression", "constants"}


def private_uses(source: str) -> set[str]:
    """What a plugin uses of Ansible beyond what it documents for plugins."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ansible."):
            found |= {alias.name for alias in node.names} & PRIVATE
        if isinstance(node, ast.Attribute):
            if node.attr in PRIVATE:
                found.add(node.attr)
            mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "os", "sys")
            if node.attr.startswith("_") and not node.attr.startswith("__") and not mine:
                found.add(node.attr)
    return found


def test_nothing_but_the_seam_touches_what_is_private() -> None:
    assert {"_execute_module", "copy_with_new_env"} <= private_uses((PLUGINS / "plugin_utils/seam.py").read_text())
    for kind in ("action", "lookup", "plugin_utils", "filter"):
        for path in sorted((PLUGINS / kind).glob("*.py")):
            inherited = {name for name in ("_low_level_execute_command", "_make_tmp_path") if name in path.read_text()}
            if path.name != "seam.py":
                assert private_uses(path.read_text()) | inherited == set(), path.name


def test_only_what_roles_themselves_say_is_kept_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inventory's text may hold a password; a role's is compiled once, whatever its variables come to."""
    asked: list[str] = []

    class Bucket(SimpleNamespace):
        code: Any = None

    kept: dict[str, Bucket] = {}

    class Cache:
        def get_bucket(self, _environment: Any, name: str, _file: Any, source: str) -> Bucket:
            asked.append(source)
            return kept.setdefault(name, Bucket())

        def set_bucket(self, _bucket: Bucket) -> None:
            pass

    monkeypatch.setattr(compiled, "cache", lambda _settings: Cache())
    monkeypatch.setattr(seam, "_COMPILED", {})
    monkeypatch.setattr(compiled, "_KEPT", [])
    texts = {"roles/redis/defaults/main.yml": "own", "roles-of-mine/x.yml": "beside", "inventory/vault.yml": "secret"}
    values = {}
    for place, word in texts.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True)
        path.write_text(f"{word}: '{{{{ \"{word}\" | upper }}}}'\n")
        values.update(seam.load_trusted(DataLoader(), str(path)))
    compiled.keep_texts_below(str(tmp_path / "roles"))
    for _run in range(2):
        seam._COMPILED.clear()
        templar = seam.templar_with(seam.fresh_templar(), values)
        assert [templar.template(values[word]) for word in texts.values()] == ["OWN", "BESIDE", "SECRET"]
    assert set(asked) == {'{{ "own" | upper }}'}
    assert [bucket.code is not None for bucket in kept.values()] == [True]
