"""Commands that the engine runs on the VPS: Compose and throw-away checkers."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

from ansible_collections.landfall.vps.plugins.module_utils import progress, shown
from ansible_collections.landfall.vps.plugins.module_utils.plan import main_of, stored_as
from ansible_collections.landfall.vps.plugins.module_utils.records import STATE_DIR
from ansible_collections.landfall.vps.plugins.module_utils.shapes import discard, owns

SCRATCH = "/tmp"  # noqa: S108 - inside a throw-away container, a tmpfs of its own


LONG_TAIL = 6000
"""Characters of what a failed command said that are told: some fifty lines."""
LEFTOVERS = ("Conflict. The container name", "No such container")


Check = Callable[[], str]
"""Runs a checker; returns why it was left out, or nothing. Raises Refused with the checker's own words."""


class CommandFailed(Exception):
    """A command ended with an error; the message holds what it said last, ``said`` all of it."""

    said = ""


class Refused(Exception):
    """A checker refused the new files. Nothing was changed."""


def run(
    argv: Sequence[str],
    timeout: float,
    stdin: Optional[str] = None,
    env: Optional[Mapping[str, str]] = None,
    told: int = 2000,
    image: str = "",
) -> str:
    """Run a command and return what it printed. Raises CommandFailed on an exit code or a time-out.

    ``told`` is how many of the last characters of what it said are in the error, ``image`` what it pulls or builds.
    """
    environment = {**os.environ, **(env or {})}
    try:
        with open(stdin or os.devnull, "rb") as handle:
            if image:
                done = progress.run(argv, handle, timeout, environment, image)
            else:
                done = progress.run_quietly(argv, handle, timeout, environment)
    except subprocess.TimeoutExpired as error:
        raise CommandFailed("'{0}' did not end within {1:.0f} s".format(_called(argv), timeout)) from error
    except OSError as error:
        raise CommandFailed("'{0}' cannot be run: {1}".format(argv[0], error)) from error
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode != 0:
        # What is wrong comes last, and so stays when a checker says a lot of files that are right
        said = "{0}\n{1}".format(text.strip(), done.stderr.decode("utf-8", "replace").strip()).strip()
        failed = CommandFailed(
            "'{0}' failed with exit code {1}: {2}".format(_called(argv), done.returncode, said[-told:])
        )
        failed.said = said
        raise failed
    return text


def _called(argv: Sequence[str]) -> str:
    """A command in a few words: of Compose the verb, before which each option has a value."""
    words = list(argv)
    while words[:2] == ["docker", "compose"] and words[2:] and words[2].startswith("-"):
        del words[2:4]
    return " ".join(words[:3] if words[:2] == ["docker", "compose"] else words[:4])


class Project:
    """The compose project of one component; ``folder`` holds its compose.yaml.

    ``name`` is the project's; by default that of the folder, with hyphens. ``file`` is another compose file, in which
    paths are relative to ``folder`` as well.
    """

    def __init__(self, folder: str, timeout: float, name: str = "", file: str = "") -> None:
        self.folder = folder
        self.timeout = timeout
        self.name = name or os.path.basename(folder).replace("_", "-")
        self.file = file or os.path.join(folder, "compose.yaml")
        self._base = [
            "docker",
            "compose",
            "--ansi",
            "never",
            "--progress",
            "plain",
            "--project-name",  # said, since COMPOSE_PROJECT_NAME would win over the file's own
            self.name,
            "--project-directory",
            folder,
            "-f",
            self.file,
        ]
        self._up = [*self._base, "up", "--detach", "--no-build", "--pull", "never", "--remove-orphans"]

    def up(self, force: Sequence[str]) -> None:
        """Start what is declared; Compose recreates what differs, and the services ``force`` (``*`` for all) anyway.

        Compose recreates a container under a temporary name; when it is killed there, its next ``up`` trips over what
        is left. Then the project is taken down, volumes kept, and started anew.
        """
        with self._alone():
            try:
                if "*" in force:
                    run([*self._up, "--force-recreate"], self.timeout)
                    return
                if force:
                    run([*self._up[:-1], "--no-deps", "--force-recreate", *force], self.timeout)
                run(self._up, self.timeout)
            except CommandFailed as error:
                if not any(sign in str(error) for sign in LEFTOVERS):
                    raise
                self._down(purge=False)
                run(self._up, self.timeout)

    def create(self, services: Sequence[str]) -> None:
        """Make the containers of ``services`` without starting them."""
        with self._alone():
            run([*self._base, "create", "--no-build", "--pull", "never", *services], self.timeout)

    def run_once(self, service: str, argv: Sequence[str]) -> None:
        """Run a command in a new container of ``service``, after what it depends on, and remove that container."""
        with self._alone():
            run([*self._base, "run", "--rm", "-T", service, *argv], self.timeout, told=LONG_TAIL)

    def start_apart(self, service: str, container: str, argv: Sequence[str], changes: str) -> None:
        """Start a command in a container of its own beside ``service``; the file ``changes`` is merged into it.

        What it reads ends at once: Compose would keep its input open, and a command that reads it would wait for ever.
        """
        options = ["run", "--detach", "--no-deps", "-T", "--interactive=false", "--name", container, service]
        with self._alone():
            run([*self._base, "-f", changes, *options, *argv], self.timeout, told=LONG_TAIL)

    def up_one(self, service: str, force: bool, patience: float) -> None:
        """Bring one service up, if it differs or ``force``, and wait until it is healthy, ``patience`` seconds long."""
        more = ["--no-deps", "--wait", "--wait-timeout", "{0:.0f}".format(patience)]
        with self._alone():
            run([*self._up[:-1], *more, *(["--force-recreate"] if force else []), service], self.timeout)

    def start_ahead(self, limit: float) -> None:
        """Let Compose start what is declared and do not wait; whoever calls ``up`` later does, and hears of faults.

        Compose holds the project's lock as long as it lives, because it inherits the open file; it is ended after
        ``limit`` seconds.
        """
        with self._alone() as lock:
            subprocess.Popen(
                ["timeout", "--kill-after=10", "{0:.0f}".format(limit), *self._up],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(lock,),
            )

    def wait(self) -> bool:
        """Wait until no Compose changes the project any more; returns True."""
        with self._alone():
            return True

    def down(self, purge: bool) -> None:
        """Stop and remove the containers; volumes only if ``purge``."""
        with self._alone():
            self._down(purge)

    def _down(self, purge: bool) -> None:
        run(self._base + ["down", "--remove-orphans"] + (["--volumes"] if purge else []), self.timeout)

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Let one Compose at a time change the project; the kernel frees the lock when the last holder ends.

        Raises CommandFailed when the one before does not end within the time that this project has.
        """
        root, name = os.path.split(self.folder)
        path = os.path.join(root, STATE_DIR, "compose-{0}.lock".format(name))
        if os.path.isdir(path):  # which nobody can have locked
            discard(path)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._wait_for(lock, name)
            yield lock
        finally:
            os.close(lock)

    def _wait_for(self, lock: int, name: str) -> None:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    form = (
                        "another 'docker compose' has been at work on {0} for more than {1:.0f} s; see 'ps aux' there"
                    )
                    raise CommandFailed(form.format(name, self.timeout)) from error
            time.sleep(0.05)

    def config(self, more: str = "") -> Dict[str, Any]:
        """The project as Compose understands it, with the file ``more`` merged in. Raises Refused when it does not."""
        base = [*self._base, "-f", more] if more else self._base
        try:
            result: Dict[str, Any] = json.loads(run([*base, "config", "--format", "json"], 60))
        except (CommandFailed, ValueError) as error:
            raise Refused("compose.yaml: {0}".format(error)) from error
        return result


def throw_away(
    image: str,
    argv: Sequence[str],
    mounts: Sequence[str],
    user: str,
    environment: Mapping[str, Any],
    timeout: float = 60,
) -> None:
    """Run a checker in a container that is gone afterwards: no network, nothing writable but /tmp.

    Raises CommandFailed with what it said.
    """
    command = [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--tmpfs",
        SCRATCH,
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges:true",
        "--log-driver",
        "none",
        "--label",
        "org.landfall.checker=true",  # collectors of logs leave such containers out
        "--user",
        user,
        "--pull",
        "never",
    ]
    for key, value in sorted(environment.items()):
        if value is not None:
            command += ["-e", "{0}={1}".format(key, value)]
    run(command + list(mounts) + ["--entrypoint", str(argv[0]), image] + [str(part) for part in argv[1:]], timeout)


def _left_out(note: str) -> Check:
    return lambda: note


def _checker(
    name: str, image: str, argv: Sequence[str], mounts: Sequence[str], user: str, environment: Mapping[str, Any]
) -> Check:
    def check() -> str:
        try:
            throw_away(image, argv, mounts, user, environment)
        except CommandFailed as error:
            raise Refused("{0}: {1}".format(name, error)) from error
        return ""

    return check


def _folder_checker(place: str, image: str, argv: Sequence[str], files: Mapping[str, str]) -> Check:
    """A check of all files of a drop-in folder in one run; ``files`` maps the path of each to what is to be read."""
    mounts: List[str] = []
    shown = ["{0}/{1}".format(SCRATCH, os.path.basename(path)) for path in files]
    for source, target in zip(files.values(), shown):
        mounts += ["-v", "{0}:{1}:ro".format(source, target)]
    return _checker(place, image, [*argv, *shown], mounts, "65534:65534", {})


def component_checks(
    name: str,
    staged: str,
    root: str,
    checks: Sequence[Any],
    uid: int,
    images: Mapping[str, Any],
    there: Iterable[str] = (),
) -> List[Check]:
    """The checks of a component's staged set, each checker in the new image.

    A check with ``data`` sees the service's volumes, too, those that are ``there``. Compose reads compose.yaml at once.
    Raises Refused with its own words.
    """
    document = Project(os.path.join(staged, name), 60).config()
    services = document.get("services") or {}
    jobs = []
    for item in checks:
        check = {"argv": item} if isinstance(item, list) else dict(item)
        service = services[check["service"]]
        argv = [str(part) for part in check["argv"]]
        if stored_as(service["image"]) not in images:
            jobs.append(_left_out("{0}: image {1} is not on the VPS yet".format(argv[0], service["image"])))
            continue
        mounts, user = shown.files(name, service, staged, root), str(check.get("user", "{0}:{0}".format(uid)))
        if check.get("data"):
            mounts += shown.data(service, document.get("volumes") or {}, there)
        jobs.append(_checker(" ".join(argv), service["image"], argv, mounts, user, service.get("environment") or {}))
    return jobs


def drop_in_checks(
    name: str, staged: str, changes: Mapping[str, str], records: Mapping[str, Any], images: Mapping[str, Any]
) -> List[Check]:
    """The checks of files shipped to other components, with what the receiving component declared for the folder.

    One run of the checker sees all files of a folder.
    """
    folders: Dict[str, List[str]] = {}
    for path, kind in changes.items():
        if kind != "remove" and not owns(name, path):
            folders.setdefault(os.path.dirname(path), []).append(path)
    jobs = []
    for place, paths in folders.items():
        receiver, folder = place.split("/", 1)
        record = records.get(receiver)
        if record is None:
            note = "{0} files in {1} are checked when {2} is deployed".format(len(paths), place, receiver)
            jobs.append(_left_out(note))
            continue
        argv = (record.get("meta", {}).get("drop_ins", {}).get(folder) or {}).get("check")
        if not argv:
            continue
        image = record["containers"][main_of(record)]["image"]
        if stored_as(image) not in images:
            note = "{0} files in {1} are not checked: image {2} is gone".format(len(paths), place, image)
            jobs.append(_left_out(note))
            continue
        jobs.append(_folder_checker(place, image, argv, {path: os.path.join(staged, path) for path in paths}))
    return jobs


def received_checks(
    name: str,
    staged: str,
    root: str,
    drop_ins: Mapping[str, Any],
    image: str,
    wanted: Iterable[str],
    records: Mapping[str, Any],
    images: Mapping[str, Any],
) -> List[Check]:
    """The checks of all files in the drop-in folders of a component that is about to be started with ``image``.

    Nobody could check those that came before its first start, and a new image may refuse what the old one took. Of its
    own files, ``wanted``, the staged ones count.
    """
    theirs = {path for other, record in records.items() if other != name for path in record.get("files") or {}}
    sources = {path: os.path.join(root, path) for path in theirs if os.path.exists(os.path.join(root, path))}
    sources.update({path: os.path.join(staged, path) for path in wanted})
    jobs = []
    for folder, options in drop_ins.items():
        place, argv = "{0}/{1}".format(name, folder), (options or {}).get("check")
        files = {path: source for path, source in sorted(sources.items()) if os.path.dirname(path) == place}
        if not argv or not files:
            continue
        if stored_as(image) in images:
            jobs.append(_folder_checker(place, image, argv, files))
        else:
            jobs.append(_left_out("{0}: image {1} is not on the VPS yet".format(argv[0], image)))
    return jobs
