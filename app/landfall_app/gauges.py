"""Gauges that cost a query are read every few seconds, not at each scrape: a scrape answers at once, always."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from . import metrics
from .broker import BEAT_KEY, WORKER_FRESH_SECONDS, WORKERS_KEY
from .ratelimit import NearLimit
from .repository import Repository
from .states import JobStatus

log = logging.getLogger(__name__)
USERS_KEY = "landfall:users"
ACTIVE_SECONDS = 300
MAX_USERS = 10_000
PERCENT = 100.0


class Users:
    """Users seen by this process since the last reading."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}

    def saw(self, user: str) -> None:
        """Note a user."""
        if len(self._seen) < MAX_USERS:
            self._seen[user] = time.time()

    def take(self) -> dict[str, float]:
        """Return those seen and forget them."""
        with self._lock:
            seen, self._seen = self._seen, {}
        return seen


class Gauges:
    """Reads the gauges of the API."""

    def __init__(self, repository: Repository, client: Redis, users: Users, near: NearLimit, interval: float) -> None:
        self._repository, self._client, self._users, self._near = repository, client, users, near
        self._interval = interval
        self._depths: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Read everything once; a part that does not answer is logged and the others are still read.

        One reading at a time: a second one would not count the users that the first has taken and not yet stored.
        """
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        self._near.refresh()
        self._repository.database.pool_figures()
        try:
            self._from_database()
        except SQLAlchemyError as error:
            log.warning("gauges: database: %s", error)
        try:
            self._from_redis()
        except RedisError as error:
            metrics.inc("redis_connection_errors_total")
            log.warning("gauges: Redis: %s", error)

    def _from_database(self) -> None:
        figures = self._repository.figures()
        for status, count in figures.tasks_by_status.items():
            metrics.put("tasks_by_status", count, status=status)
        for kind, count in figures.records.items():
            metrics.put("records", count, kind=kind)
        depths: dict[tuple[str, str], int] = {}
        for (queue, tenant), count in figures.queued.items():
            key = (f"{queue}:queue", metrics.tenant(tenant))
            depths[key] = depths.get(key, 0) + count
        for tenant, _ in figures.enhancements:  # readings rarely meet a short queue: nothing waiting is 0, not nothing
            depths.setdefault(("enhancement:queue", metrics.tenant(tenant)), 0)
        for key in self._depths | depths.keys():  # one that has emptied must say 0
            metrics.put("queue_depth", depths.get(key, 0), queue_name=key[0], tenant_id=key[1])
        self._depths |= depths.keys()
        totals: dict[str, list[int]] = {}
        for (tenant, status), count in figures.enhancements.items():
            total = totals.setdefault(metrics.tenant(tenant), [0, 0])
            total[0] += count if status == JobStatus.SUCCEEDED else 0
            total[1] += count
        for tenant, (good, all_) in totals.items():
            metrics.put("enhancement_success_rate", PERCENT * good / all_, tenant_id=tenant)

    def _from_redis(self) -> None:
        moment = time.time()
        if seen := self._users.take():
            self._client.zadd(USERS_KEY, seen)
        pipe = self._client.pipeline(transaction=False)
        pipe.zremrangebyscore(USERS_KEY, 0, moment - ACTIVE_SECONDS)
        pipe.zcard(USERS_KEY)
        pipe.zcount(WORKERS_KEY, moment - WORKER_FRESH_SECONDS, "+inf")
        pipe.get(BEAT_KEY)
        _, users, workers, tick = pipe.execute()
        metrics.put("active_users", users)
        metrics.put("worker_active_count", workers)
        if tick:
            metrics.put("beat_last_tick_timestamp_seconds", float(tick))

    async def run(self) -> None:
        """Read at every interval until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.refresh)
            except Exception:
                log.exception("reading the gauges failed")
            await asyncio.sleep(self._interval)
