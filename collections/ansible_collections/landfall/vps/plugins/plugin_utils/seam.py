"""Where the engine touches what Ansible does not promise to keep: this file, and no other.

Each function says what it does without: a version of Ansible that lacks something costs speed, never a result. ``make
cores`` runs all of it on every ansible-core that the collection supports.
"""

from __future__ import annotations

import copy
import os
import shlex
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible import constants, context
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.template import Templar, trust_as_template
from ansible.utils.display import Display
from ansible_collections.landfall.vps.plugins.plugin_utils import compiled

COLLECTION = "landfall.vps."
PROGRAM = COLLECTION + "program"
_COMPILED: Dict[Any, Any] = {}
_COMPILING: Dict[type, type] = {}
_PLUGINS: Dict[str, Any] = {}
Place = Tuple[str, int, int]
"""(file, line, column), both from 1"""


class Said(NamedTuple):
    """How a program on the VPS ended, and what it printed."""

    rc: int
    stdout: str
    stderr: str


def pipes(action: ActionBase) -> bool:
    """Whether a program may be sent to the standard input of a command: the connection, become and the user allow it.

    Not where ``become_method: su`` needs a terminal, nor where pipelining is switched off, as it must be for a sudo
    that does.
    """
    if not hasattr(action, "_low_level_execute_command"):
        return False
    connection = action._connection
    become = getattr(connection, "become", None)
    if not (getattr(connection, "has_pipelining", False) and getattr(become, "pipelining", True)):
        return False
    try:
        return bool(connection.get_option("pipelining"))
    except KeyError:
        return bool(getattr(action._play_context, "pipelining", False))


def run(action: ActionBase, python: str, text: str) -> Said:
    """Run the Python program ``text`` on the VPS, by its standard input or else by an ordinary module.

    The module costs half a second more in each trip, and its arguments lie in a file of mode 0600 on the VPS until it
    has ended. Raises AnsibleError where the connection or sudo fails.
    """
    if pipes(action):
        environment = getattr(action, "_compute_environment_string", str)()
        # -I and -S: neither the user's environment nor site packages have a say, and none of them are searched
        command = "{0} {1} -IS -".format(environment, python).strip()
        said = action._low_level_execute_command(command, in_data=text.encode())
        return Said(int(said["rc"]), str(said["stdout"]), str(said["stderr"]))
    answer = action._execute_module(
        module_name=PROGRAM, module_args={"source": text}, task_vars={"ansible_python_interpreter": python}
    )
    if "ended" in answer:
        return Said(int(answer["ended"]), str(answer.get("stdout", "")), str(answer.get("stderr", "")))
    told = answer.get("module_stderr") or answer.get("msg") or answer.get("module_stdout") or ""
    return Said(int(answer.get("rc") or 1), "", str(told))


def beside(action: ActionBase) -> Optional[ActionBase]:
    """A second way to the same VPS, for commands while a program of this task is running there, or has ended.

    A copy, since connection and become keep on themselves what one command needs. Without: None, and nobody is told how
    far a program is.
    """
    try:
        way = copy.copy(action)
        way._connection = copy.copy(action._connection)
        way._connection._shell = copy.copy(action._connection._shell)
        way._connection._shell.tmpdir = None  # the task removes its folder there when it ends
        become = getattr(action._connection, "become", None)
        if become is not None:
            way._connection.set_become_plugin(copy.copy(become))
    except (AttributeError, TypeError):
        return None
    return way if hasattr(way, "_low_level_execute_command") else None


def read_file(action: ActionBase, path: str) -> str:
    """The text of a file on the VPS, empty if it is not there. Raises AnsibleError where the connection fails."""
    return str(action._low_level_execute_command("cat {0} 2>/dev/null || true".format(shlex.quote(path)))["stdout"])


def template(action: ActionBase, value: Any) -> Any:
    """``value`` with its templates replaced by the variables of the task."""
    return action._templar.template(value)


def place_of(value: Any) -> Optional[Place]:
    """Where a value was written; None for a computed one. Without: numbers are judged by how they are printed."""
    try:
        from ansible._internal._datatag._tags import Origin  # noqa: PLC0415
    except ImportError:
        return None
    found = Origin.get_tag(value)
    if found is None or not found.path or not found.line_num:
        return None
    return str(found.path), int(found.line_num), int(found.col_num or 0)


def configured_python(task_vars: Mapping[str, Any]) -> str:
    """The interpreter that ansible.cfg names, which may be a word for discovering one."""
    config = getattr(constants, "config", None)
    return str(config.get_config_value("INTERPRETER_PYTHON", variables=dict(task_vars))) if config else "auto"


def send_file(action: ActionBase, path: str) -> str:
    """Send a file to a folder of this task on the VPS and return where it lies; ``forget_files`` removes it."""
    shell = action._connection._shell
    if shell.tmpdir is None:
        action._make_tmp_path()
    return str(action._transfer_file(path, str(shell.join_path(shell.tmpdir, os.path.basename(path)))))


def forget_files(action: ActionBase) -> None:
    """Remove what ``send_file`` sent."""
    action._remove_tmp_path(action._connection._shell.tmpdir)


def remote_user(action: ActionBase, task_vars: Mapping[str, Any]) -> str:
    """Who logs in, for messages."""
    return str(task_vars.get("ansible_user") or getattr(action._play_context, "remote_user", "") or "the SSH user")


def roles_of_play(task_vars: Mapping[str, Any], with_dependencies: bool = True) -> List[str]:
    """Names of the roles of this play, in their order; of those that lie in this collection without its own name."""
    name = "ansible_role_names" if with_dependencies else "ansible_play_role_names"
    return [str(role).removeprefix(COLLECTION) for role in task_vars.get(name) or []]


class PlayTask(NamedTuple):
    """A task of the play that the tags of the run select; ``section`` numbers what ends with a flush of handlers."""

    action: str
    role: str
    args: Any
    notifies: bool
    peculiar: bool
    section: int
    raw: Any


def play_tasks(action: ActionBase, task_vars: Mapping[str, Any]) -> Optional[Tuple[List[PlayTask], List[PlayTask]]]:
    """The selected tasks of this play (before, after) the one that ``action`` carries out, without rescue sections.

    ``role`` is the folder of the task's role, ``peculiar`` one that loops, is delegated, runs once for all hosts or may
    fail. Without: None, and nobody plans what comes later.
    """
    try:
        own = action._task
        play = own.get_play()
        found = [
            _play_task(task, section)
            for section, block in enumerate(play.compile())
            for task in _tasks_in(block)
            if task.evaluate_tags(play.only_tags, play.skip_tags, dict(task_vars))
        ]
        place = next(index for index, task in enumerate(found) if task.raw._uuid == own._uuid)
    except (AttributeError, TypeError, StopIteration, AnsibleError):
        return None
    return found[:place], found[place + 1 :]


def every_task(action: ActionBase) -> Iterator[PlayTask]:
    """All tasks of this play, whatever the tags of the run. Without: none."""
    try:
        blocks = action._task.get_play().compile()
    except (AttributeError, AnsibleError):
        return
    for section, block in enumerate(blocks):
        yield from (_play_task(task, section) for task in _tasks_in(block))


def _play_task(task: Any, section: int) -> PlayTask:
    role = str(task._role._role_path) if task._role is not None else ""
    peculiar = bool(
        task.loop is not None or task.loop_with or task.delegate_to or task.run_once or task.ignore_errors or task.until
    )
    return PlayTask(str(task.action), role, task.args, bool(task.notify), peculiar, section, task)


def _tasks_in(block: Any) -> List[Any]:
    found = []
    for item in [*block.block, *block.always]:
        found += _tasks_in(item) if hasattr(item, "always") else [item]
    return found


def meta_of(task: PlayTask) -> str:
    """What a ``meta`` task says; empty for any other task."""
    return str(task.args.get("_raw_params") or "") if task.action in ("meta", "ansible.builtin.meta") else ""


def variables_of(
    action: ActionBase, task: PlayTask | None, task_vars: Mapping[str, Any], facts: Mapping[str, Any], of: str = ""
) -> Optional[Dict[str, Any]]:
    """The variables that a later task of this play will have, or this one has, with ``facts`` beside those known.

    ``of`` names another host whose they are. Without: None, and nobody plans what comes later.
    """
    try:
        manager, own = action._task.get_variable_manager(), action._task
        host = manager._inventory.get_host(of or str(task_vars["inventory_hostname"]))
        known = ("ansible_play_hosts", "ansible_play_hosts_all")
        hosts, all_hosts = (list(task_vars.get(name) or []) for name in known)
        values: Dict[str, Any] = manager.get_vars(
            play=own.get_play(), host=host, task=task.raw if task else own, _hosts=hosts, _hosts_all=all_hosts
        )
    except (AttributeError, TypeError, KeyError):
        return None
    values["ansible_facts"] = {**(values.get("ansible_facts") or {}), **facts}
    return values


def holds(templar: Templar, task: PlayTask) -> bool:
    """Whether the conditions of a task (``when``) are true with the variables of ``templar``. Raises AnsibleError."""
    return all(templar.evaluate_conditional(condition) for condition in task.raw.when)


def runs_alike(action: ActionBase, task: PlayTask, settings: Sequence[str]) -> bool:
    """Whether a later task has the ``settings`` of this one, and nobody is asked before it. Without: False."""
    try:
        own = action._task
        stops = own.any_errors_fatal or own.get_play().max_fail_percentage is not None or context.CLIARGS.get("step")
        if stops or any(own.environment or ()) or any(task.raw.environment or ()):
            return False
        # From 2.21 on, the task that runs has the full name of its connection
        mine, its = ([str(getattr(one, n) or "") for n in settings] for one in (own, task.raw))
        return [text.replace("ansible.builtin.", "") for text in mine] == its
    except (AttributeError, AnsibleError):
        return False


def run_tags(task_vars: Mapping[str, Any]) -> List[str]:
    """What ``--tags`` says."""
    return [str(tag) for tag in task_vars.get("ansible_run_tags") or []]


def say(task_vars: Mapping[str, Any], line: str) -> None:
    """Print a line at once, below the banner of the task; with several hosts it says whose it is.

    The line goes through the main process, which prints the banner first, as long as ``display_skipped_hosts`` and
    ``display_ok_hosts`` let it know that there will be something to show.
    """
    hosts = task_vars.get("ansible_play_hosts_all") or []
    whose = "{0}: ".format(task_vars.get("inventory_hostname")) if len(hosts) > 1 else ""
    Display().display("  {0}{1}".format(whose, line))


def teller(task_vars: Mapping[str, Any]) -> Callable[[str], None]:
    """``say`` for this host, indented as what goes on."""
    return lambda line: say(task_vars, "  " + line)


def warn(task_vars: Mapping[str, Any], line: str) -> None:
    """Print a warning about this host."""
    Display().warning("{0}: {1}".format(task_vars.get("inventory_hostname"), line))


def print_by(heard: Callable[..., Any]) -> None:
    """Let ``heard`` take in all that would print or warn in this process."""
    for name in dir(Display):  # what is for -v comes to ``verbose`` always, and further only where -v is given
        if name.lstrip("_").startswith(("display", "warning", "deprecated", "error_as_", "verbose_")):
            setattr(Display, name, heard)


def trusted(text: str) -> Any:
    """``text`` as a template that Ansible is allowed to evaluate."""
    return trust_as_template(text)


def fresh_templar() -> Templar:
    """Templating without any variable. What it looks up of filters and tests later templating need not look up."""
    fresh = Templar(loader=DataLoader(), variables={})
    environment = getattr(getattr(fresh, "_engine", None), "environment", None)
    if environment is not None:
        _share_plugins(environment)
    return fresh


def remembering(action: ActionBase, values: Mapping[str, Any]) -> Tuple[Mapping[str, Any], Templar]:
    """``values`` of which each is evaluated once, when somebody asks for it, not anew by each template; and a templar.

    A variable cannot see what a template is given beside them. Without: ``values`` themselves, and all takes longer.
    """
    templar = templar_with(action._templar, values)
    try:
        from ansible._internal._templating._engine import TemplateOptions  # noqa: PLC0415
        from ansible._internal._templating._lazy_containers import _AnsibleLazyTemplateMixin  # noqa: PLC0415
        from ansible._internal._templating._utils import TemplateContext  # noqa: PLC0415

        engine = templar._engine
        with TemplateContext(template_value=None, templar=engine, options=TemplateOptions.DEFAULT):
            found = _AnsibleLazyTemplateMixin._try_create(dict(values))
    except (ImportError, AttributeError, TypeError):
        return values, templar
    if not isinstance(found, Mapping) or not hasattr(found, "_lazy_options"):
        return values, templar
    engine.available_variables = found
    return found, templar


def _compile_once(environment: Any) -> None:
    """Let an environment compile a text only once in this process: variables are asked for by many templates."""
    kind = type(environment)
    if kind.__name__ == "Compiling" or not hasattr(kind, "compile"):
        return
    if kind not in _COMPILING:
        settings = (*("block_start_string", "block_end_string", "variable_start_string", "variable_end_string"),
                    *("comment_start_string", "comment_end_string", "line_statement_prefix", "line_comment_prefix"),
                    *("trim_blocks", "lstrip_blocks", "newline_sequence", "keep_trailing_newline"))  # fmt: skip

        class Compiling(kind):  # type: ignore[misc, valid-type]
            def compile(self, source: Any, *args: Any, **more: Any) -> Any:
                if not isinstance(source, str):
                    return super().compile(source, *args, **more)
                own = tuple(getattr(self, name) for name in settings)
                key = (str(source), args, tuple(sorted(more.items())), own, _escapes())
                if key not in _COMPILED:
                    _COMPILED[key] = compiled.code(self, source, place_of(source), key, super().compile, args, more)
                return _COMPILED[key]

        _COMPILING[kind] = Compiling
    environment.__class__ = _COMPILING[kind]


def _share_plugins(environment: Any) -> None:
    """Let environments of one process know filters and tests together: to find one takes longer than most templates."""
    environment.filters = _PLUGINS.setdefault("filters", environment.filters)
    environment.tests = _PLUGINS.setdefault("tests", environment.tests)


def _escapes() -> Any:
    """Whether backslashes in the text that is being compiled are escaped. Raises ImportError."""
    from ansible._internal._templating._jinja_bits import _TemplateCompileContext  # noqa: PLC0415

    context = _TemplateCompileContext.current(optional=True)
    return context and context.escape_backslashes


class OwnArguments(ActionBase):  # type: ignore[misc]  # ansible ships no types for ActionBase
    """An action plugin that evaluates its arguments itself, each variable once. Without: Ansible has done so before."""

    @classmethod
    def finalize_task_arg(cls, _name: str, value: Any, _templar: Any, _context: Any) -> Any:
        """The argument as it was written."""
        return value

    def evaluate(self, templar: Templar) -> None:
        """Replace the templates in the arguments by the variables of ``templar``."""
        self._task.args = templar.template(self._task.args)


def templar_with(templar: Templar, values: Mapping[str, Any], folders: Sequence[str] = ()) -> Templar:
    """Templating with ``values`` in place of the task's variables; ``folders`` are searched for what is included."""
    more: Dict[str, Any] = {"searchpath": list(folders)} if folders else {}
    fresh = templar.copy_with_new_env(available_variables=values, **more)
    try:
        _compile_once(fresh._engine.environment)
        _share_plugins(fresh._engine.environment)
    except (ImportError, AttributeError, TypeError):  # then each text is compiled wherever it is asked for
        return fresh
    return fresh


def load_trusted(loader: DataLoader, path: str) -> Any:
    """A YAML file of ours, whose templates may be evaluated."""
    return loader.load_from_file(path, cache="none", trusted_as_template=True)


def keep_compiled(templar: Templar, overrides: Mapping[str, Any]) -> None:
    """Let Jinja keep compiled template files, as compiling them takes longer than all else in a run without changes.

    Jinja keeps them in a folder that only this user may enter and looks each one up by path and content; settings and
    versions, which it does not look at, go into the file names. The text of variables is not kept, as it may be secret.
    Without its environment nothing is kept, and all works as well, if slower.
    """
    environment = getattr(getattr(templar, "_engine", None), "environment", None)
    if environment is None:
        return
    environment.bytecode_cache = compiled.cache(sorted(overrides.items()))
