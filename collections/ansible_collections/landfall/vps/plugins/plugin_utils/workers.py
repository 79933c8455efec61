"""Task workers of an inventory, and the scheduler beside them, as services: whatever code they run.

All names of programs, variables and modules come from the role, in ``settings``.
"""

from __future__ import annotations

import difflib
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ansible_collections.landfall.vps.plugins.plugin_utils import service_builds, service_needs
from ansible_collections.landfall.vps.plugins.plugin_utils.service_lines import ServiceError, words

HEARTBEAT = "/dev/shm/landfall-worker"  # noqa: S108 - in the container: writable whatever else is read-only
HEARTBEAT_AGE = 60
"""Seconds; a worker touches the file every two while it is connected to its broker and its loop turns."""
HOOK = "/run/landfall"
"""Where a worker of somebody else's application finds the module landfall_heartbeat, which its role ships."""
TAKEN = (
    "image", "build", "environment", "secrets", "secret_environment", "env_file", "volumes", "tmpfs", "user", "uid",
    "read_only", "cap_add", "extra_hosts", "ulimits", "shm_size", "working_dir",
)  # fmt: skip
"""What a worker has from the service whose code it runs, unless it says otherwise."""
OWN = (
    "image", "build", "volumes", "tmpfs", "user", "uid", "read_only", "cap_add", "extra_hosts", "ulimits", "shm_size",
    "working_dir", "env_file", "entrypoint", "publish", "metrics", "job", "health", "health_interval", "health_timeout",
    "health_retries", "health_start_period", "labels", "compose", "replicas", "stop_signal", "jobs",
    "update_order",
)  # fmt: skip
MERGED = ("environment", "secrets", "secret_environment")


def as_services(workers: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The items of ``where``, and beat, in the form of services.

    ``settings`` are the role's variables without their prefix, which is ``program``, the name of the command as well;
    ``code`` is what it is given, ``where`` and ``services_variable`` are names of variables, ``services_group`` is the
    group of ``services``, ``reference_…`` says what the reference application has.
    Raises ServiceError.
    """
    found = [_worker(worker, settings) for worker in workers]
    if settings.get("beat_enabled"):
        found.append(_beat(workers, settings))
    return found


def _source(worker: Mapping[str, Any], settings: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    """The service whose code a worker runs, None for an image of its own or the reference application."""
    name = worker.get("service") or settings.get("service")
    by_name: Dict[str, Mapping[str, Any]] = {str(item.get("name")): item for item in settings.get("services") or []}
    if not name:
        return None
    if name not in by_name:
        close = difflib.get_close_matches(str(name), list(by_name), n=1)
        raise ServiceError(
            "{0}: {1}: {5} {2} is none of {4}{3}".format(
                settings["where"],
                worker.get("name"),
                name,
                "; did you mean {0}?".format(close[0]) if close else "",
                settings["services_variable"],
                "service" if worker.get("service") else "{0}_service".format(settings["program"]),
            )
        )
    return by_name[str(name)]


def is_reference(worker: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a worker runs the reference application of this repository."""
    own = worker.get("image") or worker.get("build") or worker.get("service") or settings.get("service")
    return not own and settings.get("image") == settings.get("reference_image")


def _means(worker: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether the variables of all workers mean this one: those of the reference application mean no other."""
    return is_reference(worker, settings) or not is_reference({}, settings)


def _check_reference(worker: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    items = settings.get("services") or []
    images = [item.get("image") for item in items]
    if items and settings.get("reference_image") not in images:
        names = [str(item.get("name")) for item in items]
        raise ServiceError(
            "{0}: {1} would run the reference application beside your own; name the service whose code it runs, such "
            "as {3}_service: {2}, and the application by {4}; or set {3}_enabled: false".format(
                settings["where"], worker.get("name"), names[0], settings["program"], settings["code_variable"]
            )
        )


def _common(worker: Mapping[str, Any], settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Image, environment, secrets, volumes and user of a worker or of beat."""
    source, told = _source(worker, settings), "{0}: {1}".format(settings["where"], worker.get("name"))
    if source is None and not worker.get("image") and not worker.get("build"):
        if is_reference(worker, settings):
            _check_reference(worker, settings)
        item: Dict[str, Any] = {"image": settings["image"], "user": "{0}:{0}".format(settings["uid"])}
        if settings.get("build"):
            item["build"] = settings["build"]
    elif source is None:
        item = {}
    else:
        item = {key: source[key] for key in TAKEN if source.get(key) is not None}
        if source.get("build"):
            # By its name, so that one context gives one image
            item["image"], item["build"] = (
                service_builds.image_of(source, str(settings["services_variable"])),
                source["build"],
            )
    if not is_reference(worker, settings) and settings["code"] == settings["reference_code"]:
        raise ServiceError(
            "{0}: set {1} to what {2} -A is given, such as shop.tasks".format(
                told, settings["code_variable"], settings["program"]
            )
        )
    if _means(worker, settings):
        for key in MERGED:
            item[key] = {**(item.get(key) or {}), **(settings.get(key) or {})}
        item["volumes"] = [*(item.get("volumes") or []), *(settings.get("volumes") or [])]
    for key in MERGED:
        item[key] = {**(item.get(key) or {}), **(worker.get(key) or {})}
    item.update({key: worker[key] for key in OWN if worker.get(key) is not None})
    item["depends_on"] = {**_first(source, settings), **service_needs.wanted(worker)}
    item["volumes"] = list(dict.fromkeys(item.get("volumes") or []))
    if not item.get("build"):
        item.pop("build", None)
    if worker.get("image") and not worker.get("build"):
        item.pop("build", None)
    return item


def _first(source: Optional[Mapping[str, Any]], settings: Mapping[str, Any]) -> Dict[str, str]:
    """What comes before a worker: the service whose code it runs, as its release brings the database to that version.

    Of a worker whose code nobody else runs it may be any of the services.
    """
    if source is not None:
        return {str(source["name"]): "service_healthy"}
    group = settings.get("services_group")
    return {str(group): "service_healthy"} if group and settings.get("services") else {}


def _arguments(worker: Mapping[str, Any], settings: Mapping[str, Any]) -> List[str]:
    found = [("arguments of all", settings.get("arguments")), ("arguments", worker.get("arguments"))]
    return [
        word
        for name, value in found
        if value
        for word in words(value, "{0}: {1}: {2}".format(settings["where"], worker.get("name"), name))
    ]


def _worker(worker: Mapping[str, Any], settings: Mapping[str, Any]) -> Dict[str, Any]:
    name, reference = str(worker.get("name")), is_reference(worker, settings)
    grace = int(worker.get("grace") or settings["grace"])
    arguments = _arguments(worker, settings)
    _check_grace(name, grace, reference, settings)
    _check_longest(name, grace, arguments, settings)
    queues = [str(queue) for queue in worker.get("queues") or [settings["program"]]]
    argv = [
        settings["program"], "-A", str(worker.get("module") or settings["code"]), "worker", "-Q", ",".join(queues),
        # The node's name is fixed by container_name and hostname, so that dashboards and alerts keep their series
        "-n", "{0}@%h".format(name),
        "--concurrency={0}".format(worker.get("concurrency") or settings["concurrency"]),
        "--loglevel={0}".format(settings["log_level"]), *arguments,
    ]  # fmt: skip
    item = _common(worker, settings)
    port = _metrics(worker, item, settings)
    more = {"REMAP_SIGTERM": "SIGQUIT"} if settings.get("shutdown") == "soft" else {}
    if port and not (worker.get("metrics") or {}).get("port"):
        more[str(settings["metrics_variable"])] = str(port)
    own = {**item["environment"], **more, **(worker.get("environment") or {})}
    item["environment"] = own if reference else {**more, **item["environment"]}
    if item.get("health") is None:
        if settings.get("worker_health"):
            item["health"] = words(settings["worker_health"], "worker_health")
        elif reference:
            item["health"] = list(settings["reference_worker_health"])
        else:
            argv = _hooked(argv)
            item["health"] = heartbeat_check(arguments)
            item["_mounts"] = ["./config:{0}:ro".format(HOOK)]
    return {
        **_defaults(worker, settings), **item, "name": name, "command": argv,
        "stop_grace_period": "{0}s".format(grace),
    }  # fmt: skip


def _defaults(worker: Mapping[str, Any], settings: Mapping[str, Any]) -> Dict[str, Any]:
    limits = {"cpus": worker.get("cpus"), "memory": worker.get("memory")}
    return {
        "limits": {**limits, **(worker.get("limits") or {})},
        "_health_interval": "15s",
        "_health_start_period": "60s",
        # Nobody but the broker gives it work, and that gives it to both
        "_starts_first": True,
    }


def _check_grace(name: str, grace: int, reference: bool, settings: Mapping[str, Any]) -> None:
    limit, visible = int(settings["task_time_limit"]), int(settings["visibility_timeout"])
    if grace >= visible:
        raise ServiceError(
            "{0}: {1} may take {2} s to finish, while a task is handed out again after {4}_visibility_timeout "
            "({3} s)".format(settings["where"], name, grace, visible, settings["program"])
        )
    if reference and settings.get("shutdown") == "warm" and grace <= limit:
        raise ServiceError(
            "{0}: {1} is ended after {2} s, while a task may take {4}_task_time_limit ({3} s)".format(
                settings["where"], name, grace, limit, settings["program"]
            )
        )


def _check_longest(name: str, grace: int, arguments: Sequence[str], settings: Mapping[str, Any]) -> None:
    """A worker that ends after its tasks is given as long as the longest may take. Raises ServiceError."""
    text = " ".join(arguments).replace("--time-limit ", "--time-limit=")
    limits = [word.partition("=")[2] for word in text.split() if word.startswith("--time-limit=")]
    if settings.get("shutdown") != "warm" or not limits or not limits[-1].replace(".", "", 1).isdigit():
        return
    if grace <= float(limits[-1]):
        form = "{0}: {1} is ended after {2} s, while a task may take {3} s (--time-limit); set its grace above that"
        raise ServiceError(form.format(settings["where"], name, grace, limits[-1]))


def _metrics(worker: Mapping[str, Any], item: Dict[str, Any], settings: Mapping[str, Any]) -> int:
    """The port of the worker's metrics, 0 for none; a worker that names no port has that of all workers, if any."""
    port = (worker.get("metrics") or {}).get("port") or worker.get("metrics_port")
    if not port and _means(worker, settings):
        port = settings.get("metrics_port")
    if not port:
        item.pop("metrics", None)
        return 0
    path = worker.get("metrics_path") or settings.get("metrics_path") or "/metrics"
    item["metrics"] = {"path": path, **(worker.get("metrics") or {}), "port": int(port)}
    item.setdefault("ready", {"port": int(port), "path": item["metrics"]["path"]})
    return int(port)


def _hooked(argv: Sequence[str]) -> List[str]:
    """The same command with a module more to import, which touches a file at each heartbeat of the worker.

    The image's own PYTHONPATH stays; the shell is replaced by it, which so gets the signals.
    """
    script = 'PYTHONPATH={0}${{PYTHONPATH:+:$PYTHONPATH}} exec "$0" "$@"'.format(HOOK)
    return ["sh", "-c", script, *argv, "--include=landfall_heartbeat"]


def heartbeat_check(arguments: Sequence[str]) -> List[str]:
    """A health command: the worker's last heartbeat is young. Costs a few milliseconds and asks no broker.

    A worker without heartbeats, or whose loop stands still while a task runs (pool solo), only has to have been ready.
    """
    still = "--without-heartbeat" in arguments or "solo" in [word.split("=")[-1] for word in arguments]
    if still:
        return ["CMD-SHELL", "test -e {0}".format(HEARTBEAT)]
    age = "$(( $(date +%s) - $(stat -c %Y {0}) ))".format(HEARTBEAT)
    return ["CMD-SHELL", 'test -e {0} && test "{1}" -lt {2}'.format(HEARTBEAT, age, HEARTBEAT_AGE)]


def _beat(workers: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Dict[str, Any]:
    first = next((worker for worker in workers if worker.get("service")), {})
    name = "{0}-beat".format(settings["program"])
    beat: Dict[str, Any] = {"name": name}
    if not settings.get("service") and first:
        beat["service"] = first["service"]
    elif not settings.get("service") and workers and (workers[0].get("image") or workers[0].get("build")):
        beat.update({key: workers[0][key] for key in ("image", "build", "user", "uid") if workers[0].get(key)})
    reference = is_reference(beat, settings)
    item = _common(beat, settings)
    argv = [str(settings["program"]), "-A", str(settings["code"]), "beat"]
    scheduler, schedule = settings.get("beat_scheduler"), str(settings.get("beat_schedule_file") or "")
    if scheduler:
        argv.append("--scheduler={0}".format(scheduler))
    else:
        folder = "/var/lib/{0}".format(name)
        schedule = schedule or (folder + "/schedule")
        argv.append("--schedule={0}".format(schedule))
        if schedule.startswith(folder + "/"):
            item["volumes"] = [*item["volumes"], "{0}:{1}".format(name, folder)]
    argv += ["--pidfile=", "--loglevel={0}".format(settings["log_level"])]
    health = settings.get("beat_health")
    if not health:
        # Beat has no heartbeat; that its process is there is what one can know of any of them
        pattern = "[{0}]{1}.*beat".format(settings["program"][0], settings["program"][1:])
        there = ["CMD-SHELL", "grep -qa '{0}' /proc/[0-9]*/cmdline".format(pattern)]
        health = settings["reference_beat_health"] if reference else there
    if reference and settings.get("metrics_port"):
        item["environment"] = {**item["environment"], str(settings["metrics_variable"]): str(settings["metrics_port"])}
    if settings.get("shutdown") == "soft":
        item["environment"] = {**item["environment"], "REMAP_SIGTERM": "SIGQUIT"}
    return {
        **item,
        "name": name,
        "command": argv,
        "health": words(health, "beat_health"),
        "limits": {"cpus": settings["beat_cpus"], "memory": settings["beat_memory"]},
        "stop_grace_period": "30s",
        "_health_interval": "15s",
        "_health_start_period": "60s",
    }
