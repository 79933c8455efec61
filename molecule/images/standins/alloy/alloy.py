"""A stand-in for Alloy: reads its configuration, follows containers' logs and the journal, and pushes to Loki."""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from pipeline import Entry, process, relabel
from sources import File, Journal, containers
from standin import Answer, Metrics, Request, die, exposition, flags, log, seconds, serve
from syntax import Block, Invalid, Ref, parse

FLAGS: Dict[str, Optional[str]] = {
    "server.http.listen-addr": "127.0.0.1:12345",
    "server.http.ui-path-prefix": "/",
    "server.http.enable-pprof": None,
    "server.http.disable-support-bundle": None,
    "server.http.memory-addr": "alloy.internal:12345",
    "storage.path": "data-alloy/",
    "disable-reporting": None,
    "stability.level": "generally-available",
    "config.format": "alloy",
    "feature.community-components.enabled": None,
    "cluster.enabled": None,
}
LOADED = "alloy_config_last_load_successful"


class Alloy:
    """A running stand-in."""

    def __init__(self, path: str, storage: str) -> None:
        self.path = path
        self.positions_file = Path(storage) / "standin-positions.json"
        self.positions_file.parent.mkdir(parents=True, exist_ok=True)
        self.positions: Dict[str, Any] = {}
        if self.positions_file.exists():
            self.positions = json.loads(self.positions_file.read_text(encoding="utf-8"))
        self.metrics = Metrics("alloy")
        declare = self.metrics.declare
        declare(LOADED, "gauge", "Config loaded successfully.")
        declare("alloy_config_last_load_success_timestamp_seconds", "gauge", "Time of the last successful load.")
        declare("alloy_component_controller_running_components", "gauge", "Components by health.")
        declare("alloy_resources_process_resident_memory_bytes", "gauge", "Resident memory.")
        declare("loki_source_file_files_active_total", "gauge", "Number of active files.")
        declare("loki_source_file_read_lines_total", "counter", "Number of lines read.")
        declare("loki_source_file_read_bytes_total", "gauge", "Number of bytes read.")
        declare("loki_source_journal_target_lines_total", "counter", "Lines read from the journal.")
        declare("loki_process_dropped_lines_total", "counter", "Lines dropped by a stage.")
        for name in ("sent_entries", "sent_bytes", "dropped_entries", "dropped_bytes", "batch_retries"):
            declare(f"loki_write_{name}_total", "counter", f"loki.write: {name.replace('_', ' ')}.")
        self.blocks: Dict[str, Block] = {}
        self.files: Dict[str, Tuple[File, Dict[str, str], List[str]]] = {}
        self.journal: Optional[Journal] = None
        self.looked = 0.0
        self.problem = ""

    def load(self) -> None:
        """Read the configuration. Raises Invalid, and goes on with the one before."""
        try:
            blocks = parse(Path(self.path).read_text(encoding="utf-8"), self.path)
        except (OSError, Invalid):
            self.metrics.set(LOADED, 0)
            raise
        # One assignment: the loop may be in the middle of a push that waits for Loki.
        self.blocks = {block.id: block for block in blocks}
        self.looked = 0.0
        self.metrics.set(LOADED, 1)
        self.metrics.set("alloy_config_last_load_success_timestamp_seconds", time.time())
        for block in blocks:
            if block.name == "loki.write":
                for endpoint in block.blocks:
                    for name in ("sent_entries", "sent_bytes", "dropped_entries", "dropped_bytes", "batch_retries"):
                        self.metrics.add(f"loki_write_{name}_total", 0, **self._endpoint(block, endpoint))

    @staticmethod
    def _endpoint(block: Block, endpoint: Block) -> Dict[str, str]:
        host = endpoint.attributes["url"].split("/")[2]
        return {"component_id": block.id, "component_path": "/", "endpoint": host, "host": host, "tenant": ""}

    def _of(self, name: str) -> List[Block]:
        return [block for block in self.blocks.values() if block.name == name]

    def run(self) -> None:
        """Follow everything, for ever."""
        while True:
            try:
                self._discover()
                sent = self._files() + self._journal()
                self.problem = ""
            except (OSError, ValueError, KeyError) as error:  # KeyError: a reload took a component away meanwhile
                self.problem, sent = str(error), 0
                log("error", "component is unhealthy", err=error)
            unhealthy = float(bool(self.problem))
            self.metrics.set(
                "alloy_component_controller_running_components", len(self.blocks) - unhealthy, health_type="healthy"
            )
            self.metrics.set("alloy_component_controller_running_components", unhealthy, health_type="unhealthy")
            if not sent:
                time.sleep(0.25)

    def _discover(self) -> None:
        every = min(
            [seconds(b.attributes.get("refresh_interval", "1m")) for b in self._of("discovery.docker")] or [60.0]
        )
        if time.time() - self.looked < every:
            return
        self.looked = time.time()
        found: Dict[str, Tuple[File, Dict[str, str], List[str]]] = {}
        for source in self._of("loki.source.file"):
            forward = [ref.name for ref in source.attributes["forward_to"]]
            for target in self._targets(source.attributes["targets"]):
                path = target.get("__path__", "")
                labels = {key: value for key, value in target.items() if not key.startswith("__")}
                known = self.files.get(path)
                offset, inode = self.positions.get(path, (0, 0))
                found[path] = (known[0] if known else File(Path(path), offset, inode), labels, forward)
            self.metrics.set(
                "loki_source_file_files_active_total", len(found), component_id=source.id, component_path="/"
            )
        self.files = found

    def _targets(self, value: Any) -> List[Dict[str, str]]:
        if isinstance(value, list):
            return [target for item in value for target in (self._targets(item) if isinstance(item, Ref) else [item])]
        block = self.blocks[value.name.rpartition(".")[0]]
        if block.name == "discovery.docker":
            filters: Dict[str, List[str]] = {}
            for item in block.blocks:
                filters.setdefault(item.attributes["name"], []).extend(item.attributes["values"])
            return containers(block.attributes["host"], filters)
        kept = [relabel(block.blocks, target) for target in self._targets(block.attributes["targets"])]
        return [target for target in kept if target is not None]

    def _files(self) -> int:
        count = 0
        for path, (file, labels, forward) in self.files.items():
            batch = []
            for line, length in file.lines():
                batch.append(Entry({**labels, "filename": path}, line, time.time_ns()))
                for name, amount in (("lines", 1), ("bytes", length)):
                    self.metrics.add(
                        f"loki_source_file_read_{name}_total", amount, path=path, component_id="loki.source.file"
                    )
            if batch:
                self._send(batch, forward)
                count += len(batch)
            self.positions[path] = (file.offset, file.inode)
        if count:
            self._remember()
        return count

    def _journal(self) -> int:
        for source in self._of("loki.source.journal"):
            get = source.attributes.get
            if self.journal is None:
                since = time.time() - seconds(get("max_age", "7h"))
                self.journal = Journal(self.positions.get("journal", ""), since)
            rules = get("relabel_rules")
            rule_blocks = self.blocks[rules.name.rpartition(".")[0]].blocks if rules else []
            batch = []
            for internal, message, at in self.journal.entries():
                labels = relabel(rule_blocks, {"job": source.id, **get("labels", {}), **internal})
                if labels is not None:
                    batch.append(Entry({k: v for k, v in labels.items() if not k.startswith("__")}, message, at))
            if batch:
                self.metrics.add("loki_source_journal_target_lines_total", len(batch), component_id=source.id)
                self._send(batch, [ref.name for ref in source.attributes["forward_to"]])
                self.positions["journal"] = self.journal.cursor
                self._remember()
            return len(batch)
        return 0

    def _remember(self) -> None:
        alive = {path: mark for path, mark in self.positions.items() if path == "journal" or path in self.files}
        temporary = self.positions_file.with_suffix(".new")
        temporary.write_text(json.dumps(alive), encoding="utf-8")
        temporary.replace(self.positions_file)

    def _send(self, entries: List[Entry], receivers: List[str]) -> None:
        for receiver in receivers:
            block = self.blocks[receiver.rpartition(".")[0]]
            if block.name == "loki.write":
                for endpoint in block.blocks:
                    self._push(block, endpoint, entries)
                continue
            kept = []
            for entry in entries:
                result = process(block.blocks, Entry(dict(entry.labels), entry.line, entry.at, dict(entry.metadata)))
                if isinstance(result, str):
                    self.metrics.add("loki_process_dropped_lines_total", reason=result, component_id=block.id)
                else:
                    kept.append(result)
            self._send(kept, [ref.name for ref in block.attributes["forward_to"]])

    def _push(self, block: Block, endpoint: Block, entries: List[Entry]) -> None:
        """Push, and try again as long as the configuration says; 4xx but 429 is final."""
        get, names = endpoint.attributes.get, self._endpoint(block, endpoint)
        streams: Dict[Tuple[Tuple[str, str], ...], List[List[Any]]] = {}
        for entry in entries:
            labels = {k: v for k, v in entry.labels.items() if not k.startswith("__") and v}
            streams.setdefault(tuple(sorted(labels.items())), []).append([str(entry.at), entry.line, entry.metadata])
        body = json.dumps(
            {"streams": [{"stream": dict(key), "values": value} for key, value in streams.items()]}
        ).encode()
        most, pause, tries = int(get("max_backoff_retries", 10)), seconds(get("min_backoff_period", "500ms")), 0
        while True:
            try:
                request = urllib.request.Request(str(get("url")), body, {"Content-Type": "application/json"})
                urllib.request.urlopen(request, timeout=seconds(get("remote_timeout", "10s"))).close()
                self.metrics.add("loki_write_sent_entries_total", len(entries), **names)
                self.metrics.add("loki_write_sent_bytes_total", len(body), **names)
                return
            except urllib.error.HTTPError as error:
                if error.code // 100 == 4 and error.code != 429:
                    log("error", "final error sending batch", status=error.code, err=error.read().decode()[:200])
                    break
            except OSError as error:
                log("warn", "error sending batch, will retry", err=error)
            tries += 1
            if most and tries >= most:
                break
            self.metrics.add("loki_write_batch_retries_total", 1, **names)
            time.sleep(pause)
            pause = min(pause * 2, seconds(get("max_backoff_period", "5m")))
        self.metrics.add("loki_write_dropped_entries_total", len(entries), **names, reason="ingester_error")
        self.metrics.add("loki_write_dropped_bytes_total", len(body), **names, reason="ingester_error")

    def handle(self, request: Request) -> Any:
        """Any request."""
        if request.path == "/metrics":
            raise exposition(self.metrics)
        if request.path == "/-/ready":
            return "Alloy is ready.\n"
        if request.path == "/-/healthy":
            if self.problem:
                raise Answer(500, f"unhealthy components: {self.problem}\n")
            return "All Alloy components are healthy.\n"
        if request.path == "/-/reload":
            try:
                self.load()
            except (OSError, Invalid) as error:
                raise Answer(400, f"error during the reload: {error}\n") from error
            return "config reloaded\n"
        raise Answer(404, "404 page not found\n")


def main() -> None:
    """Run as the real program does."""
    command, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if command in ("--version", "-v", "version"):
        print("alloy, version stand-in (branch: stand-in, revision: stand-in)")
        return
    if command not in ("run", "validate", "fmt"):
        die(f'Error: unknown command "{command}" for "alloy"')
    found, rest = flags(arguments, {**FLAGS, "test": None, "write": None} if command == "fmt" else FLAGS)
    if len(rest) != 1:
        die(f"Error: accepts 1 arg(s), received {len(rest)}")
    try:
        if command != "run":
            parse(Path(rest[0]).read_text(encoding="utf-8"), rest[0])
            return
        alloy = Alloy(rest[0], found["storage.path"])
        alloy.load()
    except (OSError, Invalid) as error:
        die(f"{error}\nError: could not perform the initial load successfully")
    threading.Thread(target=alloy.run, daemon=True).start()
    host, _, port = found["server.http.listen-addr"].rpartition(":")
    serve(int(port), alloy.handle, host)


if __name__ == "__main__":
    main()
