"""A load generator that uses everything the service can do: `python -m landfall_app.loadgen --seconds 30 --rate 20`.

Requests start at the stated rate whether earlier ones have been answered or not, so that a slow service is measured
as slow. The mix has reads, writes, refused and failing requests, work on every queue, slow and malformed documents,
work that is tried again, websockets and, with the admin token, fire drills. It is bounded in time, in count and in
requests at once, talks to one address only, and exits 1 when something happened that the mix did not ask for.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import websockets

from . import samples
from .loadreport import Json, Report

MAX_SECONDS, MAX_RATE, MAX_AT_ONCE = 3600.0, 2000.0, 200
ASSIGNEES = ("ada", "grace", "linus", "edsger", "barbara", "alan")
PRIORITIES = ("low", "normal", "high", "urgent")
WALK = {"pending": "in_progress", "in_progress": "in_review", "in_review": "completed"}
TICKETS = (
    "The printer on floor 3 hums. It smells of ozone. Nobody can print invoices. Please send somebody today.",
    "Login fails since the update. The error says token expired. Clearing cookies does not help. It affects sales.",
    "The drawing of pump 7 shows the wrong flange. The supplier asks for DN50. We need a corrected sheet.",
)
DOCUMENTS = {
    "extract_pdf": ("a.pdf", samples.pdf(["Pump 7: DN50", "Material: 1.4301"])),
    "extract_dxf": ("b.dxf", samples.dxf(["Flange", "DN50"])),
    "extract_ifc": ("c.ifc", samples.part21("IFC4", ["Wall 1", "Wall 2"])),
    "extract_step": ("d.stp", samples.part21("AUTOMOTIVE_DESIGN", ["Pump"], "PRODUCT")),
    "extract_werk24": ("e.pdf", samples.pdf(["Drawing: 4711", "Scale=1:2"])),
    "extract_file_auto": ("f", samples.dxf(["Unknown"])),
}
SLOW_ENTITIES = 60_000  # an IFC of about 2.5 MB: seconds of work for a worker
LIMIT_BURST = 40  # more than APP_RATE_LIMIT_AI allows a client in a minute


class Load:
    """One run of the mix."""

    def __init__(self, client: httpx.AsyncClient, tenants: list[str], admin_token: str, seed: int) -> None:
        self.client, self.tenants, self.admin_token = client, tenants, admin_token
        self.random = random.Random(seed)  # noqa: S311  a repeatable mix, no secret
        self.report = Report()
        self.tasks: deque[tuple[str, str, str]] = deque(maxlen=500)  # id, tenant and status of tasks made here
        self.mix: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (14, self.list_tasks),
            (24, self.read_task),
            (6, self.audit),
            (8, self.search),
            (8, self.poll),
            (12, self.create),
            (10, self.advance),
            (6, self.ticket),
            (2, self.enhance),
            (4, self.document),
            (4, self.index),
            (1, self.summary),
            (4, self.refused),
            (1, self.malformed),
            (1, self.missing_record),
        ]
        if admin_token:
            self.mix.append((1, self.drill))

    # --- plumbing ---

    async def call(self, kind: str, method: str, path: str, expect: set[int], **options: Any) -> httpx.Response | None:
        """Send one request and record it; an answer that is not expected is noted."""
        headers = options.pop("headers", {})
        # a proxy on loopback is believed, so that the mix comes from many clients and the limits stay out of its way
        headers.setdefault("X-Forwarded-For", f"192.0.2.{self.random.randint(1, 250)}")
        headers.setdefault("X-User", self.random.choice(ASSIGNEES))
        start = time.perf_counter()
        try:
            response = await self.client.request(method, path, headers=headers, **options)
        except httpx.HTTPError as error:
            self.report.unexpected.append(f"{kind}: {type(error).__name__}: {error}")
            self.report.statuses["no answer"] += 1
            return None
        finally:
            self.report.kinds[kind] += 1
            self.report.seconds.append(time.perf_counter() - start)
        self.report.statuses[str(response.status_code)] += 1
        if response.status_code not in expect:
            self.report.unexpected.append(f"{kind}: {method} {path}: {response.status_code} {response.text[:200]}")
            return None
        return response

    def tenant(self) -> str:
        """Return a tenant; the first ones are busier than the last."""
        return self.tenants[min(int(self.random.expovariate(0.7)), len(self.tenants) - 1)]

    def some_task(self) -> tuple[str, str, str] | None:
        """Return a task made earlier."""
        return self.random.choice(self.tasks) if self.tasks else None

    async def submit(self, kind: str, path: str, body: Json) -> str | None:
        """Queue a job and remember it."""
        response = await self.call(kind, "POST", path, {202}, json=body)
        if response is None:
            return None
        job: str = response.json()["id"]
        self.report.jobs[job] = "queued"
        return job

    # --- the mix ---

    async def list_tasks(self) -> None:
        """List tasks, some by status."""
        params = {"tenant_id": self.tenant(), "limit": "20"}
        if self.random.random() < 0.5:  # noqa: PLR2004  half of them
            params["status"] = self.random.choice(("pending", "in_progress", "completed"))
        await self.call("list", "GET", "/api/db/tasks", {200}, params=params)

    async def read_task(self) -> None:
        """Read a task, often from the cache."""
        if found := self.some_task():
            await self.call("read", "GET", f"/api/db/tasks/{found[0]}", {200}, params={"tenant_id": found[1]})
        else:
            await self.create()

    async def audit(self) -> None:
        """Read the audit of a task."""
        if found := self.some_task():
            await self.call("audit", "GET", f"/api/db/audit/{found[0]}", {200}, params={"tenant_id": found[1]})
        else:
            await self.create()

    async def search(self) -> None:
        """Search."""
        word = self.random.choice(("pump", "printer", "urgent", "flange", "wall"))
        await self.call("search", "GET", "/api/search", {200}, params={"tenant_id": self.tenant(), "q": word})

    async def poll(self) -> None:
        """Ask what became of a job."""
        waiting = [job for job, status in self.report.jobs.items() if status not in {"succeeded", "failed"}]
        if not waiting:
            await self.ticket()
            return
        job = self.random.choice(waiting)
        response = await self.call("poll", "GET", f"/api/jobs/{job}", {200})
        if response is not None:
            self.report.jobs[job] = response.json()["status"]

    async def create(self) -> None:
        """Create a task."""
        body = {
            "tenant_id": self.tenant(),
            "title": f"Check the {self.random.choice(('pump', 'printer', 'flange', 'wall'))}",
            "description": self.random.choice(TICKETS),
            "assignee": self.random.choice(ASSIGNEES),
            "priority": self.random.choice(PRIORITIES),
        }
        response = await self.call("create", "POST", "/api/db/tasks", {201}, json=body)
        if response is not None:
            self.tasks.append((response.json()["id"], body["tenant_id"], "pending"))

    async def advance(self) -> None:
        """Move a task on, in the end to completed."""
        if not self.tasks:
            await self.create()
            return
        task, tenant, status = self.tasks.popleft()  # nobody else moves it meanwhile
        new = WALK.get(status)
        if new is None:
            await self.create()
            return
        url = f"/api/db/tasks/{task}/status"
        if await self.call("advance", "PATCH", url, {200}, params={"tenant_id": tenant}, json={"status": new}):
            self.tasks.appendleft((task, tenant, new))  # the next to be moved: tasks are completed early on

    async def ticket(self) -> None:
        """Hand in a ticket as the service desk does."""
        number = str(self.random.randint(1, 99_999))
        body = {"tenant_id": self.tenant(), "ticket_id": number, "text": self.random.choice(TICKETS)}
        await self.submit("ticket", "/webhook/servicedesk", body)

    async def enhance(self) -> None:
        """Queue an enhancement."""
        body = {"tenant_id": self.tenant(), "text": self.random.choice(TICKETS)}
        await self.submit("enhance", "/api/jobs/enhancement", body)

    def _document(self, name: str, content: bytes, task: str) -> Json:
        encoded = base64.b64encode(content).decode()
        return {"tenant_id": self.tenant(), "filename": name, "content": encoded, "task": task}

    async def document(self, task: str = "") -> None:
        """Hand in a document, of any format or for this task."""
        task = task or self.random.choice(tuple(DOCUMENTS))
        name, content = DOCUMENTS[task]
        await self.submit("document", "/api/jobs/extraction", self._document(name, content, task))

    async def index(self) -> None:
        """Queue work on the search index."""
        task = self.random.choice(
            ("update_index", "update_index", "index_table", "index_record", "refresh_search_indexes")
        )
        body = {"tenant_id": self.tenant(), "task": task, "table": "tasks"}
        if task == "index_record":
            if not (found := self.some_task()):
                return
            body |= {"tenant_id": found[1], "record_id": found[0]}
        await self.submit("index", "/api/jobs/search", body)

    async def summary(self) -> None:
        """Ask for a summary at once."""
        body = {"tenant_id": self.tenant(), "text": self.random.choice(TICKETS)}
        await self.call("summary", "POST", "/api/ai/summary", {200}, json=body)

    def _refusals(self) -> list[tuple[str, str, set[int], Json]]:
        tenant = {"tenant_id": self.tenant()}
        bad = tenant | {"title": "x", "assignee": "ada", "priority": "soon"}
        return [
            ("GET", "/api/db/tasks/TASK-0", {404}, {"params": tenant}),
            ("GET", "/nowhere", {404}, {}),
            ("POST", "/api/db/tasks", {422}, {"json": bad}),
            ("POST", "/api/admin/test-alert", {401, 503}, {}),
            ("PUT", "/api/db/tasks", {405}, {"json": {}}),
        ]

    async def refused(self, *, each: bool = False) -> None:
        """Ask for what must be refused: for one such thing, or for each of them."""
        wanted = self._refusals()
        for method, path, expect, options in wanted if each else [self.random.choice(wanted)]:
            await self.call("refused", method, path, expect, **options)

    async def malformed(self) -> None:
        """Hand in a document that cannot be read: its task fails."""
        broken = samples.pdf(["x"])[:60]
        await self.submit("malformed", "/api/jobs/extraction", self._document("broken.pdf", broken, "extract_pdf"))

    async def missing_record(self) -> None:
        """Have a record indexed that does not exist: the task is tried again, and fails in the end."""
        body = {"tenant_id": self.tenant(), "task": "index_record", "table": "tasks", "record_id": "TASK-missing"}
        await self.submit("missing", "/api/jobs/search", body)

    async def drill(self) -> None:
        """Have a request fail, or take its time."""
        kind, seconds, expect = self.random.choice((("error", 0.0, 500), ("slow", 2.5, 200)))
        # the server closes the connection of a request that raised, and another request on it would be lost
        headers = {"Authorization": f"Bearer {self.admin_token}", "Connection": "close"}
        body = {"kind": kind, "seconds": seconds}
        await self.call("drill", "POST", "/api/admin/drill", {expect}, json=body, headers=headers)

    # --- once per run ---

    async def once(self) -> None:
        """Do what a share of the mix would do too often or too rarely: a slow document, a burst beyond a limit."""
        slow = samples.part21("IFC4", [f"Wall {i}" for i in range(SLOW_ENTITIES)])
        await self.submit("slow", "/api/jobs/extraction", self._document("slow.ifc", slow, "extract_ifc"))
        kinds = [self.malformed, self.missing_record, self.create, self.advance, self.advance, self.advance]
        for kind in [*kinds, self.read_task, self.read_task, self.ticket, self.enhance, self.audit, self.search]:
            await kind()
        for name in DOCUMENTS:
            await self.document(name)
        await self.refused(each=True)
        body = {"tenant_id": self.tenants[0], "text": TICKETS[0]}
        for _ in range(LIMIT_BURST):
            headers = {"X-Forwarded-For": "192.0.2.254"}
            await self.call("burst", "POST", "/api/ai/summary", {200, 429}, json=body, headers=headers)

    @staticmethod
    async def _one(kind: Callable[[], Awaitable[None]]) -> None:
        await kind()

    async def listen(self, url: str, tenant: str) -> None:
        """Keep a websocket open and count its events until cancelled."""
        address = url.replace("http", "ws", 1) + f"/ws/live?tenant_id={tenant}"
        try:
            async with websockets.connect(address, open_timeout=10) as socket:
                async for _ in socket:
                    self.report.events += 1
        except (OSError, websockets.WebSocketException) as error:
            self.report.unexpected.append(f"websocket: {type(error).__name__}: {error}")

    async def run(self, url: str, seconds: float, rate: float, at_once: int) -> float:
        """Run the mix for that long and return the seconds it took, the last answers included."""
        listeners = [asyncio.create_task(self.listen(url, tenant)) for tenant in self.tenants[:3]]
        running: set[asyncio.Task[None]] = set()
        weights = [weight for weight, _ in self.mix]
        kinds = [kind for _, kind in self.mix]
        start = time.perf_counter()
        extra = asyncio.create_task(self.once())
        number = 0
        while (due := start + number / rate) < start + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            number += 1
            if len(running) >= at_once:
                self.report.late += 1
                continue
            kind = self.random.choices(kinds, weights)[0]
            task = asyncio.create_task(self._one(kind))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(extra, *running)
        wall = time.perf_counter() - start
        for listener in listeners:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener
        return wall

    async def settle(self, seconds: float) -> None:
        """Wait until every accepted job has ended, at most that long."""
        deadline = time.monotonic() + seconds
        while True:
            waiting = [job for job, status in self.report.jobs.items() if status not in {"succeeded", "failed"}]
            if not waiting or time.monotonic() > deadline:
                return
            for job in waiting:
                with suppress(httpx.HTTPError):
                    answer = await self.client.get(f"/api/jobs/{job}", headers={"X-Forwarded-For": "192.0.2.253"})
                    if answer.status_code == httpx.codes.OK:
                        self.report.jobs[job] = answer.json()["status"]
            await asyncio.sleep(0.5)


def _secret(variable: str) -> str:
    path = os.environ.get(variable)
    return Path(path).read_text(encoding="utf-8").strip() if path else ""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Return the options, checked."""
    parser = argparse.ArgumentParser(prog="landfall_app.loadgen", description="Load with a bound in time and count.")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--seconds", type=float, default=30.0, help=f"at most {MAX_SECONDS:.0f}")
    parser.add_argument("--rate", type=float, default=20.0, help=f"requests per second, at most {MAX_RATE:.0f}")
    parser.add_argument("--at-once", type=int, default=64, help=f"unanswered requests, at most {MAX_AT_ONCE}")
    parser.add_argument("--settle", type=float, default=60.0, help="seconds to wait for the accepted jobs to end")
    parser.add_argument("--tenants", default=os.environ.get("APP_TENANTS") or "acme,globex,initech,umbrella,hooli")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(given)
    if not 0 < options.seconds <= MAX_SECONDS:
        parser.error(f"--seconds must be more than 0 and at most {MAX_SECONDS:.0f}")
    if not 0 < options.rate <= MAX_RATE:
        parser.error(f"--rate must be more than 0 and at most {MAX_RATE:.0f}")
    if not 0 < options.at_once <= MAX_AT_ONCE:
        parser.error(f"--at-once must be more than 0 and at most {MAX_AT_ONCE}")
    return options


async def generate(options: argparse.Namespace) -> tuple[Json, bool]:
    """Run and return the figures, and whether everything was as expected."""
    token = _secret("APP_API_TOKEN_FILE")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    limits = httpx.Limits(max_connections=options.at_once + 4, max_keepalive_connections=options.at_once + 4)
    tenants = [name.strip() for name in options.tenants.split(",") if name.strip()]
    async with httpx.AsyncClient(base_url=options.url, timeout=35.0, limits=limits, headers=headers) as client:
        load = Load(client, tenants, _secret("APP_ADMIN_TOKEN_FILE"), options.seed)
        wall = await load.run(options.url, options.seconds, options.rate, options.at_once)
        await load.settle(options.settle)
    figures = load.report.summary(wall)
    unended = sum(status not in {"succeeded", "failed"} for status in load.report.jobs.values())
    figures["jobs_not_ended"] = unended
    return figures, not load.report.unexpected and not unended


def main(given: list[str] | None = None) -> int:
    """Print the figures as JSON; 0 when all went as the mix expects."""
    figures, good = asyncio.run(generate(arguments(given)))
    json.dump(figures, sys.stdout, indent=2)
    print()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
