"""Controller side of landfall.vps.state: checks the inventory while the VPS is being read. Changes nothing."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.landfall.vps.plugins.module_utils import ownership, units
from ansible_collections.landfall.vps.plugins.plugin_utils import (
    bounds,
    bundles,
    bundling,
    claims,
    compiled,
    foresight,
    keeper,
    preflight,
    releasing,
    seam,
    secrets,
    session,
    stack,
    variables,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.checks import host_faults
from ansible_collections.landfall.vps.plugins.plugin_utils.dashboards import dashboard_faults
from ansible_collections.landfall.vps.plugins.plugin_utils.declared import (
    DeclarationError,
    destinations,
    elsewhere,
    expected,
    is_there,
    roles_here,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.remote import (
    TripError,
    interpreter,
    read_architectures,
    read_state,
    run_queue,
    run_recover,
)
from ansible_collections.landfall.vps.plugins.plugin_utils.render import BOARDS, BRACKETS
from ansible_collections.landfall.vps.plugins.plugin_utils.shipping import archive
from ansible_collections.landfall.vps.plugins.plugin_utils.templates import warm_up
from ansible_collections.landfall.vps.plugins.plugin_utils.wanted import Wanted, selected, wanted
from yaml import YAMLError

OPTIONS = frozenset(
    {
        "root",
        "lock_wait",
        "bundle",
        "bundle_signers",
        "bundle_into",
        "sign_with",
        "files",
        "texts",
        "inventory",
        "images",
        "archives",
        "image_size",
        "disk_reserve",
    }
) | {*("profile", "engine_options", "engine_defaults", "registries", "finish")}
STRAYS = (
    "{0} holds {1}: with another ansible.cfg Ansible reads such files as inventory and prints what is in them. Take "
    "secrets of your own by lookup('landfall.vps.secret', '<name>'), which moves them, and move other files elsewhere"
)
Found = Sequence[Tuple[str, List[str]]]
"""(form of a heading with host and number of faults, faults)"""

warm_up(BRACKETS)


class ActionModule(seam.OwnArguments):
    """See the module of the same name."""

    _supports_check_mode = True

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Return the fact ``landfall_state``, or fail with every fault of the inventory or of the VPS at once."""
        task_vars = task_vars or {}
        result: Dict[str, Any] = super().run(tmp, task_vars)
        compiled.keep_texts_below(os.path.dirname(str(task_vars.get("role_path") or os.devnull)))
        # What a variable comes to is found once for all that ask for it
        self._known = seam.remembering(self, task_vars)[1]
        self.evaluate(self._known)
        args = dict(self._task.args)
        unknown = sorted(set(args) - OPTIONS)
        if unknown:
            raise AnsibleActionFail("landfall.vps.state: unknown option {0}".format(", ".join(unknown)))
        python = interpreter(task_vars, self)
        if args.get("bundle_into"):
            return self._bundle(args, task_vars, result)
        with ThreadPoolExecutor(max_workers=1) as pool:
            # The connection waits for the VPS most of the time, which is enough to check the inventory
            reading = pool.submit(self._read, python, str(args.get("root", "/opt/landfall")))
            values: Dict[str, Dict[str, Any]] = {}
            faults = self._inventory_faults(task_vars, result, values)
            bundle = self._open_bundle(args, task_vars, faults)
            found = [("the inventory of {0} has {1}", faults if args.get("inventory", True) else [])]
            state = self._answer(reading.result, task_vars, found)
        state = self._queue(state, args, python, task_vars, bool(faults))
        from_bundle = {"bundle": bundle} if bundle else {}
        state.update(from_bundle)
        if args.get("inventory", True):
            found.append(("the dashboards for {0} have {1}", self._dashboard_faults(state, task_vars)))
        whole = self._stack(task_vars)
        faults, notes = self._preflight(state, values, args, whole, task_vars)
        if args.get("inventory", True):
            faults += self._foreign(state, whole, task_vars)
        faults += state.get("bad_records", {}).values()
        found.append(("the VPS {0} cannot take the stack, it has {1}", host_faults(state) + faults))
        told = "\n".join(["told beside that:", *("- " + note for note in notes)] if notes else [])
        unchanged = "; nothing was changed" if args.get("inventory", True) else "; no component was changed"
        self._refuse(found, task_vars, told, unchanged)
        changed = False
        if state.get("leftovers") and not self._task.check_mode:
            concluded = self._recover(state, python, whole, task_vars)
            changed = bool(concluded)
            state = {**self._answer(lambda: self._read(python, state["root"]), task_vars, []), **from_bundle}
        if args.get("inventory", True):
            self._look_ahead(state, args, task_vars, result, values)
        else:  # a second look at the VPS: what was planned for it stands
            before = session.known_state(task_vars) or {}
            state.update({key: before[key] for key in ("planned", "expected", "release", "kept") if key in before})
        result.setdefault("warnings", []).extend(notes)
        facts = {**session.as_fact(state), **result.get("ansible_facts", {})}
        result.update(changed=changed, ansible_facts=facts, _ansible_verbose_override=True)
        return result

    def _read(self, python: str, root: str) -> Dict[str, Any]:
        args = self._task.args
        return read_state(self, python, root, args.get("files", []), args.get("texts", []))

    def _open_bundle(
        self, args: Mapping[str, Any], task_vars: Mapping[str, Any], faults: List[str]
    ) -> Optional[Dict[str, Any]]:
        """The manifest of the bundle that images come from, if there is one; what is wrong with it is a fault."""
        compares = boolean(self._known.template(task_vars.get("landfall_compare", False)), strict=False)
        if not args.get("bundle") or compares:
            return None
        try:
            return bundles.load(os.path.expanduser(str(args["bundle"])), args.get("bundle_signers"))
        except (bundles.BundleError, OSError) as error:
            faults.append(str(error))
            return None

    def _bundle(self, args: Mapping[str, Any], task_vars: Dict[str, Any], result: Dict[str, Any]) -> Dict[str, Any]:
        """Bring a bundle to hold what this host needs, without looking at the host."""
        self._refuse([("the inventory of {0} has {1}", self._inventory_faults(task_vars, result, {}))], task_vars)
        state = bundling.blank(str(args.get("root", "/opt/landfall")))
        ahead = foresight.look_ahead(self, task_vars, state)
        self._refuse([("the components of {0} have {1}", ahead.faults)], task_vars)
        folder = os.path.abspath(os.path.expanduser(str(args["bundle_into"])))
        try:
            wanted = bundling.needed(ahead.planned)
            result["images"] = sorted(wanted)
            if not self._task.check_mode:
                by, key = (session.run_id(), session.who()), str(args.get("sign_with") or "")
                bundling.make(folder, key, *by, wanted, lambda line: seam.say(task_vars, line))
        except (bundles.BundleError, OSError) as error:
            raise AnsibleActionFail("the bundle in {0} was not made: {1}".format(folder, error)) from error
        seam.say(task_vars, bundling.in_words(len(wanted), folder, self._task.check_mode))
        facts = session.as_fact({**state, "done": True, "bundled": folder})
        result.update(changed=True, ansible_facts=facts, _ansible_verbose_override=True)
        return result

    def _queue(
        self, state: Dict[str, Any], args: Mapping[str, Any], python: str, task_vars: Dict[str, Any], refused: bool
    ) -> Dict[str, Any]:
        """Wait while another run has the VPS, if this one is to, and read it anew then."""
        seconds, lock = int(args.get("lock_wait") or 0), state.get("lock") or {}
        if refused or seconds <= 0 or self._task.check_mode or lock.get("run") in (None, session.run_id()):
            return state
        me = (session.run_id(), session.who(), session.dead_run(lock), session.holder())
        how = seconds, "about to read the VPS", seam.teller(task_vars)
        told = self._answer(lambda: run_queue(self, python, state["root"], me, *how), task_vars, [])
        if not told["held"]:
            raise AnsibleActionFail("{0}; nothing was changed".format(told["why"]))
        keeper.start(self, python, state["root"])
        found = self._answer(lambda: self._read(python, state["root"]), task_vars, [])
        return {**found, "kept": True}

    def _look_ahead(
        self, state: Dict[str, Any], args: Mapping[str, Any], task_vars: Dict[str, Any], result: Dict[str, Any],
        values: Mapping[str, Mapping[str, Any]],
    ) -> None:  # fmt: skip
        """Plan what all tasks that follow will do, print it, and note in ``state`` whether anything is left to do."""
        ahead = foresight.look_ahead(self, task_vars, state)
        compares = boolean(self._known.template(task_vars.get("landfall_compare", False)), strict=False)
        lost = [] if compares else bundling.lost(ahead.planned, state, args)
        self._refuse(
            [("the components of {0} have {1}", ahead.faults), ("the images for {0} have {1}", lost)], task_vars
        )
        for line in foresight.told(ahead):
            seam.say(task_vars, line)
        if compares or ahead.changes:
            kept = bounds.all_of(str(task_vars["role_path"]), values, ahead.planned, state, args.get("image_size"))
            result.setdefault("warnings", []).extend(bounds.note(kept, state))
            for line in bounds.told(kept, state) if compares else []:
                seam.say(task_vars, line)
        if not compares:
            state["release"], faults = releasing.choose(ahead.planned, state, str(task_vars.get("inventory_dir") or ""))
            self._refuse([("the release for {0} has {1}", faults)], task_vars)
            if state["release"]:
                seam.say(task_vars, releasing.told(state["release"], state, bool(self._task.check_mode)))
        state["planned"] = foresight.facts_of(ahead)
        wants = expected(task_vars, self._known.template, state["records"])
        state["expected"] = {**wants, "network": self._stack(task_vars).network}
        state["done"] = bool(args.get("finish", True)) and ahead.nothing_left
        if compares and ahead.known:
            for one in ahead.planned:
                result.setdefault("ansible_facts", {}).update(session.declared_fact(one.name, one.compared()))
            # Nothing else of a play that only compares may run; one that verifies as well goes on to that
            state["done"] = not ahead.verifies

    def _preflight(
        self,
        state: Mapping[str, Any],
        values: Mapping[str, Mapping[str, Any]],
        args: Mapping[str, Any],
        whole: stack.Stack,
        task_vars: Mapping[str, Any],
    ) -> Tuple[List[str], List[str]]:
        """(faults, notes) of the VPS for what this inventory wants of it."""
        roles = roles_here(task_vars)
        tags = seam.run_tags(task_vars), task_vars.get("ansible_skip_tags") or []
        want = wanted(values, [role for role in roles if selected(role, roles, *tags)])
        known, notes, refused = self._architectures(state, want, args, task_vars)
        network = whole.network_request()
        settings = {
            **args,
            **{name: network[name] for name in ("subnet", "gateway", "stack")},
            "network": network["name"],
        }
        sizes = [units.size(str(args.get(name) or "0")) for name in ("image_size", "disk_reserve")]
        faults, more = preflight.look(state, want, settings, sizes[0], sizes[1], known)
        return refused + faults, notes + more + ownership.network_notes(state, network)

    def _architectures(
        self, state: Mapping[str, Any], want: Wanted, args: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> Tuple[Dict[str, List[str]], List[str], List[str]]:
        """What registries say of images that are to be pulled: (image to architectures, notes, faults)."""
        pulled = [
            image
            for image in preflight.missing_images(state, want)
            if image not in want.built and not archive(str(args.get("archives") or ""), image)
        ]
        if state.get("bundle"):
            return bundles.architectures(state["bundle"]), [], []
        if not pulled or args.get("images") != "registry" or not state["engine"]["running"]:
            return {}, [], []
        logins = json.loads(json.dumps(args.get("registries") or []))
        try:
            answer = read_architectures(self, interpreter(task_vars, self), sorted(pulled), logins)
        except TripError as error:
            return {}, ["images: cannot tell for which machines they are built: {0}".format(error)], []
        unknown: Dict[str, str] = answer["unknown"]
        compares = boolean(self._known.template(task_vars.get("landfall_compare", False)), strict=False)
        refused = {} if compares else preflight.refused_images(unknown, want.images, state, args)
        unknown = {image: why for image, why in unknown.items() if image not in refused}
        notes = []
        if unknown:
            form = "images: cannot tell for which machines {0} {1} built; the registry said of {2}: {3}"
            first = min(unknown)
            notes.append(
                form.format(", ".join(sorted(unknown)), "is" if len(unknown) == 1 else "are", first, unknown[first])
            )
        return answer["known"], notes, list(refused.values())

    def _stack(self, task_vars: Mapping[str, Any]) -> stack.Stack:
        """Names and network of the stack; those of an empty inventory where its values are refused anyway."""

        def variable(name: str, default: Any) -> Any:
            return self._known.template(task_vars[name]) if name in task_vars else default

        try:
            return stack.read(variable)
        except (AnsibleError, ValueError, TypeError):
            return stack.UNPREFIXED

    def _foreign(self, state: Dict[str, Any], whole: stack.Stack, task_vars: Dict[str, Any]) -> List[str]:
        """What is somebody else's and has a name that this run wants; nothing while its own names are unknown."""
        if whole is stack.UNPREFIXED:
            return []
        known = roles_here(task_vars)
        tags = seam.run_tags(task_vars), task_vars.get("ansible_skip_tags") or []
        roles = [role for role in known if selected(role, known, *tags)]
        place = os.path.dirname(str(task_vars["role_path"]))
        return claims.clashes(state, whole, place, roles, self._known, self._loader, task_vars)

    def _inventory_faults(
        self, task_vars: Dict[str, Any], result: Dict[str, Any], values: Dict[str, Dict[str, Any]]
    ) -> List[str]:
        """Look at every variable, which makes the secrets that are missing, and tell what became of them."""
        secrets.heard, secrets.rehearsing = [], bool(self._task.check_mode or self._task.args.get("bundle_into"))
        faults = self._faults_of_variables(task_vars, values)
        for line in secrets.grouped(secrets.heard) if not self._task.args.get("bundle_into") else []:
            seam.say(task_vars, "secrets: {0}".format(line))
        folder = str(self._known.template(task_vars.get("landfall_secrets_dir", "")))
        inside = folder.startswith(str(task_vars.get("inventory_dir")) + os.sep)
        strays = secrets.strays(folder) if inside and not secrets.rehearsing else []
        if strays:
            result.setdefault("warnings", []).append(STRAYS.format(folder, ", ".join(strays)))
        return faults

    def _faults_of_variables(self, task_vars: Dict[str, Any], values: Dict[str, Dict[str, Any]]) -> List[str]:
        if not task_vars.get("role_path"):
            raise AnsibleActionFail("landfall.vps.state checks the variables of roles: call it from the role landfall")
        read, own = self._loader.get_text_file_contents, self._task.get_vars()
        return variables.faults(self._known, read, own, task_vars, values)

    def _dashboard_faults(self, state: Dict[str, Any], task_vars: Dict[str, Any]) -> List[str]:
        def there(role: str) -> bool:
            return is_there(role, task_vars, self._known.template, state["records"])

        roles = os.path.dirname(str(task_vars["role_path"]))
        try:
            folders = destinations(roles, there, lambda role: elsewhere(role, task_vars)).get(BOARDS) or []
        except (DeclarationError, OSError, YAMLError) as error:
            return [str(error)]
        return dashboard_faults(roles, seam.roles_of_play(task_vars), state["files"], there, folders)

    def _refuse(
        self, found: Found, task_vars: Dict[str, Any], more: str = "", unchanged: str = "; nothing was changed"
    ) -> None:
        parts = []
        for form, faults in found:
            if faults:
                count = "a fault" if len(faults) == 1 else "{0} faults".format(len(faults))
                listed = "\n".join("- " + fault for fault in faults)
                parts.append((form.format(task_vars["inventory_hostname"], count), listed))
        if parts:
            headings = [
                "{0}{1}:\n{2}".format(head, "" if n else unchanged, text) for n, (head, text) in enumerate(parts)
            ]
            raise AnsibleActionFail("\n".join([*headings, *([more] if more else [])]))

    def _answer(self, wait: Any, task_vars: Dict[str, Any], found: Found) -> Dict[str, Any]:
        """What the VPS answered. Where it does not, the faults that were found without it are told all the same."""
        try:
            state: Dict[str, Any] = wait()
        except (TripError, AnsibleError) as error:
            sudo = "sudo" in str(error).lower()
            said = (
                self._no_sudo(task_vars, str(error))
                if sudo
                else "the state of the VPS cannot be read: {0}".format(error)
            )
            self._refuse(found, task_vars, said)
            if sudo or isinstance(error, TripError):
                raise AnsibleActionFail(said) from error
            raise
        return state

    def _recover(
        self, state: Mapping[str, Any], python: str, whole: stack.Stack, task_vars: Dict[str, Any]
    ) -> List[str]:
        """Conclude what a run that died left; returns what was done, nothing while another run is at work."""
        network, who = whole.network_request(), (session.run_id(), session.who())
        told = self._answer(lambda: run_recover(self, python, state["root"], network, *who), task_vars, [])
        for line in [*told["notes"], told["busy"]]:
            if line:
                seam.say(task_vars, line)
        notes: List[str] = told["notes"]
        return notes

    def _no_sudo(self, task_vars: Dict[str, Any], said: str) -> str:
        user = seam.remote_user(self, task_vars)
        return (
            "rights: {0} cannot use sudo on {1}; nothing was changed. Allow it without a password, or pass "
            "--ask-become-pass. sudo said: {2}".format(user, task_vars["inventory_hostname"], said)
        )
