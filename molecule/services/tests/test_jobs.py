"""Jobs and single commands beside a service: what they say, how they end, what is told of them."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

from testbed import probe

RUN = "playbooks/run.yml"


def start(host: Any, job: str) -> None:
    host.run(f"systemctl start landfall-job-web-gateway-{job}")


def figure(host: Any, name: str, job: str) -> float | None:
    return probe.value(host, f'landfall_scheduled_{name}{{scheduled_job="web-gateway-{job}"}}')


def test_a_job_runs_as_its_service_and_says_so_in_loki(host: Any) -> None:
    start(host, "greet")
    said = probe.output(host, "docker", "logs", "web-gateway-greet").strip()
    assert said == "greeting a $b 'c' %d $HOME 100% \"ok\" 40 999"
    query = urllib.parse.urlencode({"query": '{container="web-gateway-greet"}'})

    def lines() -> list[str]:
        answer = json.loads(probe.get(host, f"http://127.0.0.1:3100/loki/api/v1/query_range?{query}"))
        return [line for stream in answer["data"]["result"] for _at, line in stream["values"]]

    assert probe.eventually(lambda: said in lines()), lines()
    assert probe.eventually(lambda: figure(host, "last_exit_status", "greet") == 0)
    assert figure(host, "last_duration_seconds", "greet") is not None
    due = figure(host, "next_run_timestamp_seconds", "greet")
    assert due is not None and due % 86400 == 3.5 * 3600  # the VPS lives in UTC


def test_a_failed_job_and_one_that_takes_too_long_are_told(host: Any) -> None:
    for job in ("fail", "dawdle"):
        start(host, job)
    dawdled = probe.containers(host)["web-gateway-dawdle"]
    assert (dawdled["HostConfig"]["Memory"], dawdled["State"]["Status"]) == (48 * 1024**2, "exited")
    assert probe.eventually(lambda: figure(host, "last_exit_status", "fail") == 7)
    assert probe.eventually(lambda: figure(host, "last_exit_status", "dawdle") == 124)

    def firing() -> set[str]:
        alerts = probe.prometheus(host, "alerts")["alerts"]
        return {alert["labels"].get("scheduled_job", "") for alert in alerts if alert["state"] == "firing"}

    assert probe.eventually(lambda: {"web-gateway-fail", "web-gateway-dawdle"} <= firing(), 90), firing()
    assert "about to fail" in probe.output(host, "journalctl", "-u", "landfall-job-web-gateway-fail", "-o", "cat")


def test_a_single_command_gives_its_output_and_status(host: Any) -> None:
    what = '{"entrypoint": ["sh", "-c"], "command": ["cat; echo one $GREETING; exit 5"]}'  # what it reads ends at once
    text, figures, _status = probe.playbook("-e", "service=web-gateway", "-e", what, name=RUN)
    assert "one a $b 'c' %d" in text and "ended with exit status 5" in text and figures["failed"] == 1
    assert not [name for name in probe.containers(host) if "-run-" in name]


def test_a_single_command_of_no_service_is_refused(host: Any) -> None:
    text, figures, _status = probe.playbook("-e", "service=web-gatway", "-e", "command=x", name=RUN)
    said = " ".join(text.split())
    assert "no service 'web-gatway' here; did you mean web-gateway?" in said and "order-api" in said
    assert figures["failed"] == 1
