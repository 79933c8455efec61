"""One module per dashboard; each has a constant `BOARD`."""

from __future__ import annotations

from dashboards.board import Board
from dashboards.boards import (
    alloy,
    api_performance,
    application,
    celery,
    celery_workers,
    containers,
    database_redis,
    host,
    http_service,
    jobs,
    logs,
    loki,
    monitoring_stack,
    overview,
    per_tenant,
    postgresql,
    probes,
    proxy,
    slo,
)

BOARDS: list[Board] = [
    overview.BOARD,
    api_performance.BOARD,
    application.BOARD,
    per_tenant.BOARD,
    slo.BOARD,
    http_service.INSTRUMENTATOR,
    http_service.OTEL,
    celery.BOARD,
    celery_workers.BOARD,
    database_redis.BOARD,
    postgresql.BOARD,
    host.BOARD,
    jobs.BOARD,
    containers.BOARD,
    logs.BOARD,
    loki.BOARD,
    alloy.BOARD,
    probes.BOARD,
    proxy.BOARD,
    monitoring_stack.BOARD,
]
