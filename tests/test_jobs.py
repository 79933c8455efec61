"""Jobs of services: what an item becomes, byte for byte, what is refused, and the program that runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
import yaml
from ansible_collections.landfall.vps.plugins.module_utils import timer_program
from ansible_collections.landfall.vps.plugins.plugin_utils import jobs, timer_files

from tests import rolekit

WEB: Dict[str, Any] = {"name": "web", "image": "shop/web:1.0", "port": 8000, "health": "/health"}
JOB: Dict[str, Any] = {"name": "cleanup", "command": [], "schedule": "daily"}
UNIT = "landfall-job-web-cleanup"


def component(tmp_path: Path, *given: Dict[str, Any], **more: Any) -> rolekit.Rendered:
    items = [{**JOB, "command": ["clean"], **job} for job in given]
    service = {**WEB, **more.pop("service", {}), "jobs": items}
    return rolekit.component("app", tmp_path, app_services=[service], **more)


def unit(rendered: rolekit.Rendered, kind: str, name: str = UNIT) -> str:
    """One of the files of a unit, wherever its component lies."""
    return rolekit.text(rendered, next(path for path in rendered.contents if path.endswith(f"/units/{name}{kind}")))


AWKWARD = ["a $b", "100%", "say \"x\" \\ 'y'", "line\nbreak", "", "ü", "$$", "{{ x }}"]


def test_a_command_reaches_compose_byte_for_byte_and_no_unit_file(tmp_path: Path) -> None:
    rendered = component(tmp_path, {"command": rolekit.raw(AWKWARD), "environment": rolekit.raw({"A": "$B %c"})})
    changes = yaml.safe_load(unit(rendered, ".yaml"))["services"]["web"]
    assert [word.replace("$$", "$") for word in changes["command"]] == AWKWARD
    assert changes["environment"] == {"A": "$$B %c"}
    assert (changes["healthcheck"], changes["restart"]) == ({"disable": True}, "no")
    assert "100" not in unit(rendered, ".service") + unit(rendered, ".timer")


def test_the_program_is_named_byte_for_byte() -> None:
    assert timer_files.word('/srv/a b%c$d"e\\f') == '"/srv/a b%%c$$d\\"e\\\\f"'


def test_what_an_item_says_stands_in_its_files(tmp_path: Path) -> None:
    job = {
        "schedule": ["Mon..Fri 04:30 Europe/Berlin", "*:0/15"], "timeout": "90s", "late_after": "5m", "catch_up": False,
        "limits": {"cpus": 0.5, "memory": "64m"}, "entrypoint": "sh -c",
    }  # fmt: skip
    rendered = component(tmp_path, job, service={"replicas": 2}, landfall_prefix="shop-")
    name = "shop-" + UNIT
    described = json.loads(unit(rendered, ".json", name))
    assert (described["container"], described["service"]) == ("shop-web-cleanup", "web-1")
    assert (described["timeout_seconds"], described["late_after_seconds"]) == (90, 300)
    assert described["reports"] == [f"node_exporter/textfile.d/{name}.prom"]
    timer = unit(rendered, ".timer", name)
    assert "OnCalendar=Mon..Fri 04:30 Europe/Berlin\nOnCalendar=*:0/15\n" in timer and "Persistent=false" in timer
    changes = yaml.safe_load(unit(rendered, ".yaml", name))["services"]["web-1"]
    assert (changes["cpus"], changes["mem_limit"], changes["entrypoint"]) == (0.5, "64m", ["sh", "-c"])
    service = unit(rendered, ".service", name)
    assert '"/opt/shop-landfall/' in service and f"TimeoutStartSec={600 + 90 + 30 + 120}" in service


def test_a_stack_without_jobs_has_no_unit(tmp_path: Path) -> None:
    rendered = rolekit.component("app", tmp_path)
    assert not [path for path in rendered.contents if "/units/" in path] and "timers" not in rendered.desired.meta


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({"schedule": "0 3 * * *"}, "is written as cron does; write it as systemd's OnCalendar"),
        ({"schedule": "sometimes"}, "'sometimes' is no schedule"),
        ({"schedule": []}, "schedule is empty"),
        ({"timeout": "0s"}, "timeout: must be a second or longer"),
        ({"timeout": "soon"}, "timeout: 'soon' is no duration"),
        ({"command": []}, "command is empty"),
        ({"name": "x" * 63}, "is too long for a container's name"),
    ],
)
def test_what_cannot_be_is_refused_by_the_job(tmp_path: Path, job: Dict[str, Any], words: str) -> None:
    with pytest.raises(Exception, match=re.escape(words)) as no:
        component(tmp_path, job)
    assert "app_services: web: job " in str(no.value)


def test_a_worker_may_have_jobs_too(tmp_path: Path) -> None:
    worker = {"name": "mails", "queues": ["mails"], "jobs": [{**JOB, "command": "python -m shop.purge --all"}]}
    more = {"app_services": [WEB], "celery_service": "web", "celery_app": "shop.celery", "celery_workers": [worker]}
    rendered = rolekit.component("celery", tmp_path, **more)
    name = "landfall-job-mails-cleanup"
    changes = yaml.safe_load(unit(rendered, ".yaml", name))["services"]["mails"]
    assert changes["command"] == ["python", "-m", "shop.purge", "--all"]
    assert json.loads(unit(rendered, ".json", name))["container"] == "mails-cleanup"
    worker["jobs"] = [{**JOB, "schedule": "0 3 * * *", "command": ["x"]}]
    with pytest.raises(
        Exception, match="celery_workers: mails: job cleanup: schedule: '0 3 \\* \\* \\*' is written as cron"
    ):
        rolekit.component("celery", tmp_path, **more)


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, False),
        ({"app_services": [{**WEB, "jobs": [{**JOB, "command": ["x"]}]}], "celery_enabled": False}, True),
        ({"app_services": [{**WEB, "jobs": [{**JOB, "command": ["x"]}]}], "app_enabled": False}, False),
        ({"celery_workers": [{"name": "w", "jobs": [{**JOB, "command": ["x"]}]}]}, True),
        ({"celery_workers": [{"name": "w", "jobs": [{**JOB, "command": ["x"]}]}], "celery_enabled": "false"}, False),
    ],
)
def test_the_dashboard_of_jobs_is_where_there_are_some(more: Dict[str, Any], shown: bool, tmp_path: Path) -> None:
    found = rolekit.component("node_exporter", tmp_path, **more).contents
    assert ("grafana/dashboards.d/node-exporter--jobs.json" in found) is shown


def test_two_of_a_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="something else is named web-cleanup already"):
        component(tmp_path, {}, {})
    other = {**WEB, "name": "web-cleanup"}
    with pytest.raises(Exception, match="something else is named web-cleanup already"):
        rolekit.component("app", tmp_path, app_services=[{**WEB, "jobs": [{**JOB, "command": ["x"]}]}, other])


@pytest.mark.parametrize(
    "text",
    [
        "daily", "Weekly", "*-*-* 03:00:00", "Mon 04:30", "Mon..Fri *-*-* 12:00 Europe/Berlin", "*:0/15", "2027-01-01",
        "*-*-1/2", "Sat,Sun 10:00", "03:00 UTC", "*-02~03", "Mon *-05~07/1", "*-*-* *:*:00,30", "hourly",
    ],
)  # fmt: skip
def test_schedules_that_systemd_takes_pass(text: str) -> None:
    assert jobs.schedule_fault(text) == ""


# -- the program --------------------------------------------------------------------------------------------------

DOCKER = """#!/bin/sh
echo "$@" >>{log}
case "$*" in
  *inspect*) cat {folder}/owner 2>/dev/null ;;
  wait*) sleep {takes}; echo {status} ;;
  *run\\ --detach*) exit {starts} ;;
  logs*) echo last words ;;
esac
"""


class Vps:
    """A root with one job, whose Docker and systemd are programs of the test."""

    def __init__(self, root: Path, status: int = 0, takes: float = 0, starts: int = 0, timeout: int = 30) -> None:
        self.root, self.log = root, root / "asked"
        self.home = root / "web" / "units"
        for folder in (self.home, root / ".state", root / "metrics", root / "bin"):
            folder.mkdir(parents=True)
        (self.home / "run.py").write_bytes(Path(str(timer_program.__file__)).read_bytes())
        spec = {
            "project": "web", "service": "web", "container": "web-cleanup", "schedule": ["daily"], "grace_seconds": 1,
            "timeout_seconds": timeout, "late_after_seconds": 60, "reports": ["metrics/a.prom", "absent/a.prom"],
            "labels": {"scheduled_job": "web-cleanup", "scheduled_service": "web"},
        }  # fmt: skip
        (self.home / "a.json").write_text(json.dumps(spec))
        docker = DOCKER.format(log=self.log, folder=root, takes=takes, status=status, starts=starts)
        calendar = '#!/bin/sh\necho "    Next elapse: Sat 2033-05-18 03:33:20 UTC"\n'
        for name, text in (("docker", docker), ("systemd-analyze", calendar)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)

    def start(self, verb: str = "run") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", str(self.home / "run.py"), verb, "a"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env={**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"},
        )  # fmt: skip

    def run(self, verb: str = "run") -> tuple[int, str]:
        process = self.start(verb)
        said = process.communicate(timeout=60)[0]
        return process.returncode, said

    def figures(self) -> Dict[str, float]:
        lines = [line for line in (self.root / "metrics/a.prom").read_text().splitlines() if not line.startswith("#")]
        found = {}
        for line in lines:
            name, value = line.rsplit(" ", 1)
            assert 'scheduled_job="web-cleanup"' in name
            result = name.partition('result="')[2].rstrip('"}')
            found[name.split("{")[0].removeprefix("landfall_scheduled_") + ("/" + result if result else "")] = float(
                value
            )
        return found

    def asked(self) -> List[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def test_a_run_that_ends_well_is_reported(tmp_path: Path) -> None:
    vps = Vps(tmp_path)
    assert vps.run("note")[0] == 0
    assert "last_exit_status" not in vps.figures() and vps.figures()["next_run_timestamp_seconds"] == 2_000_000_000
    status, said = vps.run()
    figures = vps.figures()
    assert (status, figures["last_exit_status"], figures["running"], figures["runs_total/success"]) == (0, 0, 0, 1)
    assert time.time() - figures["last_success_timestamp_seconds"] < 60 and "ended well" in said
    assert (tmp_path / "metrics/a.prom").stat().st_mode & 0o777 == 0o644
    assert [p.name for p in (tmp_path / "metrics").iterdir()] == ["a.prom"]


def test_a_failed_run_keeps_the_time_of_the_last_good_one(tmp_path: Path) -> None:
    vps = Vps(tmp_path)
    vps.run()
    good = vps.figures()["last_success_timestamp_seconds"]
    (tmp_path / "bin/docker").write_text(DOCKER.format(log=vps.log, folder=tmp_path, takes=0, status=7, starts=0))
    status, said = vps.run()
    figures = vps.figures()
    assert (status, figures["last_exit_status"], figures["runs_total/failure"]) == (7, 7, 1)
    assert figures["last_success_timestamp_seconds"] == good and "failed with 7" in said and "last words" in said


def test_a_run_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    vps = Vps(tmp_path, takes=30, timeout=1)
    assert vps.run()[0] == timer_program.TIMED_OUT
    assert vps.figures()["runs_total/timeout"] == 1 and "stop web-cleanup" in vps.asked()


def test_no_two_runs_at_once(tmp_path: Path) -> None:
    vps = Vps(tmp_path, takes=3)
    first = vps.start()
    deadline = time.monotonic() + 20
    while not any(line.startswith("wait") for line in vps.asked()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert vps.figures()["running"] == 1
    assert vps.run()[0] == timer_program.BUSY
    assert (vps.run("note")[0], vps.figures()["running"]) == (0, 1)
    first.communicate(timeout=60)
    assert (first.returncode, vps.figures()["running"]) == (0, 0)
    assert len([line for line in vps.asked() if "run --detach" in line]) == 1


def test_systemd_ends_a_run(tmp_path: Path) -> None:
    vps = Vps(tmp_path, takes=30)
    process = vps.start()
    deadline = time.monotonic() + 20
    while not any(line.startswith("wait") for line in vps.asked()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=60)
    assert (process.returncode, vps.figures()["last_exit_status"]) == (timer_program.STOPPED, timer_program.STOPPED)
    assert "stop web-cleanup" in vps.asked()


def test_what_does_not_start_is_a_failure(tmp_path: Path) -> None:
    vps = Vps(tmp_path, starts=1)
    assert (vps.run()[0], vps.figures()["last_exit_status"]) == (timer_program.NOT_STARTED, 125)


@pytest.mark.parametrize(("labels", "removed"), [("web web-cleanup\n", True), ("other \n", False)])
def test_only_a_container_of_this_job_is_removed(tmp_path: Path, labels: str, removed: bool) -> None:
    vps = Vps(tmp_path)
    (tmp_path / "owner").write_text(labels)
    status, said = vps.run()
    assert any(line.startswith("rm ") for line in vps.asked()) == removed
    assert status == (0 if removed else timer_program.NOT_STARTED)
    assert removed or "is none of this job" in said
