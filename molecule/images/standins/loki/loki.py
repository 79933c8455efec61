"""A stand-in for Loki: checks its configuration, takes lines in, gives them back, forgets them in time."""

from __future__ import annotations

import gzip
import json
import re
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import logql
import yaml
from standin import Answer, Metrics, Request, die, exposition, flags, log, seconds, serve, size
from store import Entry, Store, protobuf_push

# What the real program knows, of the blocks that matter here; a block that is not listed is not looked into.
KNOWN: Dict[str, str] = {
    "": "target auth_enabled http_prefix ballast_bytes server internal_server distributor querier query_range ruler "
    "ruler_storage frontend frontend_worker ingester_client ingester block_builder block_scheduler pattern_ingester "
    "index_gateway bloom_compactor bloom_build bloom_gateway storage_config chunk_store_config schema_config compactor "
    "compactor_client limits_config operational_config worker table_manager memberlist kafka_config dataobj "
    "runtime_config tracing analytics profiling shutdown_delay metrics_namespace common query_scheduler ui "
    "ingest_limits "
    "ingest_limits_frontend ingest_limits_frontend_client",
    "server": "http_listen_network http_listen_address http_listen_port http_listen_conn_limit grpc_listen_network "
    "grpc_listen_address grpc_listen_port graceful_shutdown_timeout http_server_read_timeout http_server_write_timeout "
    "http_server_idle_timeout grpc_server_max_recv_msg_size grpc_server_max_send_msg_size log_format log_level "
    "http_path_prefix register_instrumentation",
    "common": "path_prefix storage persist_tokens replication_factor ring instance_interface_names instance_addr "
    "instance_enable_ipv6 compactor_address compactor_grpc_address",
    "common.ring": "kvstore heartbeat_period heartbeat_timeout tokens_file_path zone_awareness_enabled instance_id "
    "instance_interface_names instance_port instance_addr instance_availability_zone instance_enable_ipv6",
    "common.storage.filesystem": "chunks_directory rules_directory",
    "ingester": "lifecycler concurrent_flushes flush_check_period flush_op_backoff flush_op_timeout "
    "chunk_retain_period chunk_idle_period chunk_block_size chunk_target_size chunk_encoding max_chunk_age "
    "autoforget_unhealthy "
    "sync_period sync_min_utilization max_returned_stream_errors query_store_max_look_back_period wal index_shards "
    "max_dropped_streams owned_streams_check_interval kafka_ingestion",
    "ingester.wal": "enabled dir checkpoint_duration flush_on_shutdown replay_memory_ceiling disk_full_threshold",
    "compactor": "working_directory compaction_interval apply_retention_interval retention_enabled "
    "retention_delete_delay retention_delete_worker_count retention_table_timeout retention_backoff_config "
    "delete_request_store delete_request_store_key_prefix delete_request_store_db_type "
    "backup_delete_request_store_db_type delete_batch_size delete_request_cancel_period delete_max_interval "
    "max_compaction_parallelism "
    "upload_parallelism compactor_ring tables_to_compact skip_latest_n_tables horizontal_scaling_mode worker_config "
    "jobs_config",
    "limits_config": "ingestion_rate_strategy ingestion_rate_mb ingestion_burst_size_mb max_label_name_length "
    "max_label_value_length max_label_names_per_series reject_old_samples reject_old_samples_max_age "
    "creation_grace_period max_line_size max_line_size_truncate max_line_size_truncate_identifier "
    "increment_duplicate_timestamp discover_service_name discover_generic_fields discover_log_levels "
    "log_level_fields log_level_from_json_max_depth use_owned_stream_count max_streams_per_user "
    "max_global_streams_per_user unordered_writes per_stream_rate_limit per_stream_rate_limit_burst "
    "max_chunks_per_query max_query_series max_query_lookback max_query_length max_query_range max_query_parallelism "
    "tsdb_max_query_parallelism tsdb_max_bytes_per_shard cardinality_limit max_streams_matchers_per_query "
    "max_concurrent_tail_requests max_entries_limit_per_query max_cache_freshness_per_query query_timeout "
    "split_queries_by_interval deletion_mode retention_period retention_stream volume_enabled volume_max_series "
    "allow_structured_metadata max_structured_metadata_size max_structured_metadata_entries_count otlp_config",
    "querier": "tail_max_duration extra_query_delay query_ingesters_within engine max_concurrent query_store_only "
    "query_ingester_only multi_tenant_queries_enabled per_request_limits_enabled",
    "query_range": "align_queries_with_step results_cache cache_results max_retries parallelise_shardable_queries "
    "shard_aggregations cache_index_stats_results index_stats_results_cache cache_volume_results volume_results_cache "
    "cache_instant_metric_results instant_metric_results_cache instant_metric_query_split_align cache_series_results "
    "series_results_cache cache_label_results label_results_cache",
    "schema_config": "configs",
    "analytics": "reporting_enabled usage_stats_url proxy_url",
}
DURATIONS = (
    "limits_config.retention_period",
    "limits_config.reject_old_samples_max_age",
    "ingester.lifecycler.min_ready_duration",
    "compactor.compaction_interval",
)
SIZES = ("limits_config.max_line_size", "ingester.wal.replay_memory_ceiling")
SECOND = 1_000_000_000


def dig(config: Dict[str, Any], path: str, default: Any = None) -> Any:
    """The value at a dotted path."""
    value: Any = config
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return default if value is None else value


def load(path: str) -> Dict[str, Any]:
    """Read and check the configuration. Ends the program as the real one does for what it refuses."""
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        die(f"failed parsing config: {path}: {error}")
    for block, names in KNOWN.items():
        found = dig(config, block, {}) if block else config
        for key in found if isinstance(found, dict) else {}:
            if key not in names.split():
                die(
                    f"failed parsing config: {path}: yaml: unmarshal errors:\n"
                    f"  field {key} not found in type {block or 'loki.Config'}"
                )
    for where, convert in [*((name, seconds) for name in DURATIONS), *((name, size) for name in SIZES)]:
        value = dig(config, where)
        if value is not None and str(value) != "0":
            try:
                convert(str(value))
            except ValueError as error:
                die(f"failed parsing config: {path}: {error}")
    schemas = dig(config, "schema_config.configs")
    if not schemas:
        die("panic: runtime error: index out of range [-1]", 2)
    for schema in schemas:
        if schema.get("store") == "tsdb" and dig(schema, "index.period") != "24h":
            die("validating config: CONFIG ERROR: schema config for tsdb must have index.period 24h")
    if dig(config, "compactor.retention_enabled") and not dig(config, "compactor.delete_request_store"):
        die(
            "validating config: CONFIG ERROR: compactor.delete-request-store should be configured "
            "when retention is enabled"
        )
    return dict(config)


class Loki:
    """A running stand-in."""

    def __init__(self, config: Dict[str, Any]) -> None:
        self.config = config
        self.started = time.time()
        self.ready_after = seconds(str(dig(config, "ingester.lifecycler.min_ready_duration", "15s")))
        if dig(config, "common.ring.kvstore.store") not in ("inmemory", "memberlist"):
            die("error running loki: Get consul ring: connection refused")
        root = Path(dig(config, "common.path_prefix", "/loki"))
        try:
            for name in ("chunks", "rules", "compactor"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            die(f"error initialising loki: {error}")
        self.store = Store(root / "chunks" / "standin.jsonl")
        self.replicas = int(dig(config, "common.replication_factor", 3))
        self.metrics = Metrics("loki")
        self._declare()
        threading.Thread(target=self._compact, daemon=True).start()

    def _declare(self) -> None:
        declare = self.metrics.declare
        declare("loki_distributor_lines_received_total", "counter", "Lines received per tenant.", True, tenant="fake")
        declare("loki_distributor_bytes_received_total", "counter", "Bytes received per tenant.", True, tenant="fake")
        declare(
            "loki_discarded_samples_total",
            "counter",
            "Samples that were discarded.",
            True,
            reason="greater_than_max_sample_age",
            tenant="fake",
        )
        declare(
            "loki_discarded_bytes_total",
            "counter",
            "Bytes that were discarded.",
            True,
            reason="greater_than_max_sample_age",
            tenant="fake",
        )
        declare("loki_ingester_memory_streams", "gauge", "Streams in memory per tenant.", True, tenant="fake")
        declare("loki_ingester_streams_created_total", "counter", "Streams created per tenant.", True, tenant="fake")
        for name in ("panic", "ingester_wal_disk_full_failures", "ingester_chunks_flush_failures"):
            declare(f"loki_{name}_total", "counter", f"loki: {name.replace('_', ' ')}.", True)
        declare("loki_request_duration_seconds_count", "counter", "Requests.")
        declare("loki_request_duration_seconds_sum", "counter", "Seconds of requests.")
        declare("loki_request_duration_seconds_bucket", "counter", "Requests by duration.")
        for status in ("success", "failure"):
            declare(
                "loki_compactor_apply_retention_operation_total", "counter", "Runs of retention.", True, status=status
            )
        declare("loki_compactor_apply_retention_last_successful_run_timestamp_seconds", "gauge", "Last such run.", True)
        declare(
            "loki_boltdb_shipper_compact_tables_operation_last_successful_run_timestamp_seconds",
            "gauge",
            "Last compaction.",
            True,
        )

    def _compact(self) -> None:
        """Retention as in the real one: switched on, with a writable directory for temporary files, or not at all."""
        period = seconds(str(dig(self.config, "limits_config.retention_period", "0s")))
        while True:
            now = time.time()
            if dig(self.config, "compactor.retention_enabled"):
                try:
                    with tempfile.TemporaryFile():
                        gone = self.store.expire(int((now - period) * SECOND)) if period >= 86400 else 0
                    self.metrics.add("loki_compactor_apply_retention_operation_total", status="success")
                    self.metrics.set("loki_compactor_apply_retention_last_successful_run_timestamp_seconds", now)
                    log("debug", "retention applied", deleted=gone)
                except OSError as error:
                    self.metrics.add("loki_compactor_apply_retention_operation_total", status="failure")
                    log("error", "failed to apply retention", err=error)
            time.sleep(60)

    def push(self, request: Request) -> Any:
        """POST /loki/api/v1/push, JSON or snappy protobuf."""
        if self.replicas > 1:
            raise Answer(500, "at least 2 live replicas required, could only find 1 - unhealthy instances: \n")
        body = gzip.decompress(request.body) if request.headers.get("Content-Encoding") == "gzip" else request.body
        try:
            if request.headers.get("Content-Type", "").startswith("application/json"):
                entries = [
                    Entry(
                        tuple(sorted(stream["stream"].items())),
                        int(value[0]),
                        value[1],
                        value[2] if len(value) > 2 else {},
                    )
                    for stream in json.loads(body)["streams"]
                    for value in stream["values"]
                ]
            else:
                entries = [Entry(labels_of(labels), at, line, meta) for labels, at, line, meta in protobuf_push(body)]
        except (KeyError, TypeError, ValueError) as error:
            raise Answer(400, f"loghttp.PushRequest: {error}\n") from error
        limits = self.config.get("limits_config", {})
        oldest = (time.time() - seconds(str(limits.get("reject_old_samples_max_age", "1w")))) * SECOND
        most = int(limits.get("max_label_names_per_series", 15))
        kept: List[Entry] = []
        refusal: Optional[str] = None
        for entry in entries:
            self.metrics.add("loki_distributor_lines_received_total", tenant="fake")
            self.metrics.add("loki_distributor_bytes_received_total", len(entry.line.encode()), tenant="fake")
            if not entry.stream:
                refusal = "error at least one label pair is required per stream"
            elif len(entry.stream) > most:
                refusal = f"entry for stream has {len(entry.stream)} label names; limit {most}"
            elif limits.get("reject_old_samples", True) and entry.at < oldest:
                refusal = "entry has timestamp too old"
                self.metrics.add("loki_discarded_samples_total", reason="greater_than_max_sample_age", tenant="fake")
            else:
                kept.append(entry)
        before = len(self.store.streams())
        self.store.add(kept)
        streams = len(self.store.streams())
        self.metrics.set("loki_ingester_memory_streams", streams, tenant="fake")
        self.metrics.add("loki_ingester_streams_created_total", streams - before, tenant="fake")
        raise Answer(400, refusal + "\n") if refusal else Answer(204)

    def query(self, request: Request, ranged: bool) -> Dict[str, Any]:
        """GET query or query_range."""
        now = time.time_ns()
        end = moment(request.query.get("end" if ranged else "time", str(now)))
        start = moment(request.query.get("start", str(end - 3600 * SECOND)))
        try:
            query = logql.Parser(request.query.get("query", "")).query()
        except (logql.BadQuery, ValueError, IndexError, re.error) as error:
            raise Answer(400, f"{error}\n") from error
        if isinstance(query, logql.Logs):
            return self._log_result(query, request, start, end)
        step = int(step_seconds(request.query.get("step", ""), (end - start) / SECOND) * SECOND) if ranged else 1
        entries = self.store.entries((start if ranged else end) - query.window, end + 1)
        series: Dict[Tuple[Tuple[str, str], ...], List[List[Any]]] = {}
        for at in range(start, end + 1, step) if ranged else [end]:
            for labels, value in query.at(entries, at).items():
                series.setdefault(labels, []).append([at / SECOND, f"{value:g}"])
        kind = "matrix" if ranged else "vector"
        result = [
            {"metric": dict(labels), "values" if ranged else "value": values if ranged else values[0]}
            for labels, values in series.items()
        ]
        return {"status": "success", "data": {"resultType": kind, "result": result, "stats": {}}}

    def _log_result(self, query: logql.Logs, request: Request, start: int, end: int) -> Dict[str, Any]:
        lines = query.lines(self.store.entries(start, end + 1))
        backward = request.query.get("direction", "backward") == "backward"
        lines = (lines[::-1] if backward else lines)[: int(request.query.get("limit", "100"))]
        streams: Dict[Tuple[Tuple[str, str], ...], List[List[str]]] = {}
        for at, line, labels in lines:
            streams.setdefault(tuple(sorted(labels.items())), []).append([str(at), line])
        result = [{"stream": dict(labels), "values": values} for labels, values in streams.items()]
        return {"status": "success", "data": {"resultType": "streams", "result": result, "stats": {}}}

    def handle(self, request: Request) -> Any:
        """Any request."""
        started = time.time()
        try:
            return self._route(request)
        finally:
            labels = {
                "method": request.method,
                "route": request.path.strip("/").replace("/", "_"),
                "status_code": "200",
                "ws": "false",
            }
            took = time.time() - started
            self.metrics.add("loki_request_duration_seconds_count", 1, **labels)
            self.metrics.add("loki_request_duration_seconds_sum", took, **labels)
            for bound in ("0.005", "0.025", "0.1", "0.5", "2.5", "10", "+Inf"):
                self.metrics.add(
                    "loki_request_duration_seconds_bucket", float(took <= float(bound)), **labels, le=bound
                )

    def _route(self, request: Request) -> Any:
        path = request.path
        if path == "/ready":
            if time.time() - self.started < self.ready_after:
                raise Answer(503, f"Ingester not ready: waiting for {self.ready_after:g}s after being ready\n")
            return "ready\n"
        if path == "/metrics":
            raise exposition(self.metrics)
        if path == "/config":
            return yaml.safe_dump(self.config)
        if path == "/loki/api/v1/push" and request.method == "POST":
            return self.push(request)
        if path in ("/loki/api/v1/query", "/loki/api/v1/query_range"):
            return self.query(request, path.endswith("_range"))
        if path == "/loki/api/v1/status/buildinfo":
            return {"version": "stand-in", "revision": "stand-in"}
        values = re.fullmatch(r"/loki/api/v1/(labels|series|label/(\w+)/values)", path)
        if values:
            streams = [dict(stream) for stream in self.store.streams()]
            if values.group(1) == "series":
                return {"status": "success", "data": selected(request.query.get("match[]", ""), streams)}
            name = values.group(2)
            found = {s[name] for s in streams if name in s} if name else {key for s in streams for key in s}
            return {"status": "success", "data": sorted(found)}
        raise Answer(404, "404 page not found\n")


def labels_of(text: str) -> Tuple[Tuple[str, str], ...]:
    """The labels of a stream written as {a="b"}."""
    return tuple(sorted((key, str(json.loads(value))) for key, value in re.findall(r'(\w+)=("(?:\\.|[^"\\])*")', text)))


def selected(text: str, streams: List[Dict[str, str]]) -> List[Dict[str, str]]:
    """The streams that a selector matches; all of them without one."""
    if not text:
        return streams
    try:
        query = logql.Parser(text).query()
    except (logql.BadQuery, ValueError, IndexError, re.error) as error:
        raise Answer(400, f"{error}\n") from error
    if not isinstance(query, logql.Logs) or query.stages:
        raise Answer(400, "only label matchers are supported\n")
    return [s for s in streams if all(logql.compare(s.get(name, ""), op, value) for name, op, value in query.matchers)]


def moment(text: str) -> int:
    """A time of the API, in nanoseconds."""
    value = float(text)
    return int(text) if text.isdigit() and len(text) > 12 else int(value * SECOND)


def step_seconds(text: str, span: float) -> float:
    """The step of a range query, by default a 250th of its span."""
    if not text:
        return max(1.0, span / 250)
    return float(text) if re.fullmatch(r"[\d.]+", text) else seconds(text)


def main() -> None:
    """Run as the real program does."""
    found, _ = flags(
        sys.argv[1:], {"config.file": "", "verify-config": None, "health": None, "version": None, "target": "all"}
    )
    if found.get("version"):
        print("loki, version stand-in (branch: stand-in, revision: stand-in)")
        return
    config = load(found["config.file"])
    if found.get("verify-config"):
        log("info", "config is valid")
        return
    port = int(dig(config, "server.http_listen_port", 3100))
    if found.get("health"):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=4).close()
        except (urllib.error.URLError, OSError) as error:
            die(f"health check failed: {error}")
        return
    serve(port, Loki(config).handle)


if __name__ == "__main__":
    main()
