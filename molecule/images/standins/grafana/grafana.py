"""A stand-in for Grafana: provisioning, sign-in, datasources that are really asked, dashboards that are really read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import yaml
from settings import Settings
from standin import Answer, Metrics, Request, die, exposition, flags, log, serve

QUERY = {"prometheus": "/api/v1/query?query=", "loki": "/loki/api/v1/query?query="}
HEALTH = {"prometheus": "1+1", "loki": "vector(1)+vector(1)"}


class Database:
    """What outlives a start: the admin's password (hashed), which datasource has which uid, what was made by hand."""

    def __init__(self, settings: Settings) -> None:
        self.path = Path(settings.get("paths", "data", "/var/lib/grafana")) / "grafana.db"
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> Dict[str, Any]:
        """Everything."""
        return json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}

    def write(self, **more: Any) -> None:
        """Change something."""
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({**self.read(), **more}), encoding="utf-8")
        new.replace(self.path)

    def set_password(self, password: str) -> None:
        """Keep the password's hash."""
        salt = secrets.token_hex(8)
        self.write(salt=salt, password=digest(password, salt))

    def fits(self, password: str) -> bool:
        """Whether this is the password."""
        found = self.read()
        return hmac.compare_digest(digest(password, found["salt"]), found["password"])


def digest(password: str, salt: str) -> str:
    """The hash that is kept."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), 10000).hex()


def read_datasources(folder: Path, known: Dict[str, str]) -> List[Dict[str, Any]]:
    """The provisioned datasources. Ends the program for what ends the real one."""
    result: List[Dict[str, Any]] = []
    for path in sorted(folder.glob("*.y*ml")):
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            items = document.get("datasources") or []
            for item in items:
                if not item.get("name") or not item.get("type"):
                    raise ValueError("datasource name and type are required")
                if item.get("access") not in (None, "proxy", "direct"):
                    raise ValueError(f"invalid access {item['access']}")
                if known.get(item["name"], item.get("uid")) != item.get("uid"):
                    raise ValueError("data source not found")
                if item.get("isDefault") and any(other.get("isDefault") for other in result):
                    raise ValueError(
                        "datasource.yaml config is invalid. "
                        "Only one datasource per organization can be marked as default"
                    )
                if item.get("uid") in [other.get("uid") for other in result]:
                    raise ValueError(f"datasource uid {item['uid']} is there twice")
                result.append({**item, "url": str(item.get("url", "")).replace("$$", "$")})
        except (AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
            die(
                'logger=provisioning level=error msg="Failed to provision data sources" '
                f'error="Datasource provisioning error: {path}: {error}"'
            )
    return result


class Grafana:
    """A running stand-in."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings)
        if "password" not in self.database.read():
            self.database.set_password(settings.get("security", "admin_password", "admin"))
        self.provisioning = Path(settings.get("paths", "provisioning", "/etc/grafana/provisioning"))
        self.datasources = read_datasources(self.provisioning / "datasources", self.database.read().get("uids", {}))
        self.database.write(uids={item["name"]: item["uid"] for item in self.datasources})
        self.dashboards: Dict[str, Dict[str, Any]] = {}
        self.metrics = Metrics("grafana")
        declare = self.metrics.declare
        declare("grafana_instance_start_total", "counter", "Starts.", True)
        self.metrics.add("grafana_instance_start_total")
        declare("grafana_stat_totals_dashboard", "gauge", "Total amount of dashboards.", True)
        declare("grafana_stat_total_users", "gauge", "Total amount of users.")
        self.metrics.set("grafana_stat_total_users", 1)
        declare("grafana_stat_totals_datasource", "gauge", "Total number of data sources by type.")
        for item in self.datasources:
            self.metrics.set("grafana_stat_totals_datasource", 1, plugin_id=item["type"])
        declare("grafana_http_request_duration_seconds_count", "counter", "Requests.")
        declare("grafana_http_request_duration_seconds_sum", "counter", "Seconds of requests.")
        declare("grafana_http_request_duration_seconds_bucket", "counter", "Requests by duration.")
        declare("grafana_datasource_request_total", "counter", "Requests to data sources.")
        declare("grafana_http_request_in_flight", "gauge", "Requests being answered.", True)
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while True:
            pause = 10.0
            found: Dict[str, Dict[str, Any]] = {}
            for path in sorted((self.provisioning / "dashboards").glob("*.y*ml")):
                for provider in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("providers") or []:
                    pause = float(provider.get("updateIntervalSeconds") or 10)
                    self._read_dashboards(provider, found)
            self.dashboards = found
            self.metrics.set("grafana_stat_totals_dashboard", len(found))
            time.sleep(pause)

    @staticmethod
    def _read_dashboards(provider: Dict[str, Any], found: Dict[str, Dict[str, Any]]) -> None:
        for path in sorted(Path(provider["options"]["path"]).rglob("*.json")):
            try:
                board = json.loads(path.read_text(encoding="utf-8"))
                if not board["title"] or board.get("uid") in found:
                    raise ValueError("the same UID is used more than once")
                uid = board.get("uid") or hashlib.sha256(str(path).encode()).hexdigest()[:12]
                locked = not provider.get("allowUiUpdates")
                found[uid] = {"board": board, "folder": provider.get("folder", ""), "file": path.name, "locked": locked}
            except (KeyError, OSError, TypeError, ValueError) as error:
                log("error", "failed to load dashboard", logger="provisioning.dashboard", file=path, error=error)

    def signed_in(self, request: Request) -> bool:
        """Whether the request carries the admin's name and password."""
        if self.settings.on("auth.anonymous", "enabled"):
            return True
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return False
        return (
            kind == "Basic"
            and user == self.settings.get("security", "admin_user", "admin")
            and self.database.fits(password)
        )

    def handle(self, request: Request) -> Any:
        """Any request."""
        started = time.time()
        status = 200
        try:
            return self._route(request)
        except Answer as answer:
            status = answer.status
            raise
        finally:
            labels = {
                "handler": re.sub(r"/uid/\w+", "/uid/:uid", request.path),
                "method": request.method,
                "status_code": str(status),
                "status_source": "server",
            }
            took = time.time() - started
            self.metrics.add("grafana_http_request_duration_seconds_count", 1, **labels)
            self.metrics.add("grafana_http_request_duration_seconds_sum", took, **labels)
            for bound in ("0.005", "0.025", "0.1", "0.5", "1", "5", "+Inf"):
                self.metrics.add(
                    "grafana_http_request_duration_seconds_bucket", float(took <= float(bound)), **labels, le=bound
                )

    def _route(self, request: Request) -> Any:
        if request.path == "/api/health":
            raise Answer(
                200, '{\n  "database": "ok",\n  "version": "stand-in",\n  "commit": "stand-in"\n}', "application/json"
            )
        if request.path == "/metrics" and self.settings.on("metrics", "enabled", True):
            raise exposition(self.metrics)
        if request.path in ("/", "/login"):
            return "<html><body>This is a stand-in for Grafana: it has the API, not the pages.</body></html>"
        if not self.signed_in(request):
            raise Answer(
                401, {"message": "Invalid username or password", "messageId": "password-auth.failed", "statusCode": 401}
            )
        if request.path in ("/api/user", "/api/org"):
            return {"id": 1, "login": "admin", "name": "Main Org.", "isGrafanaAdmin": True}
        if request.path == "/api/dashboards/db" and request.method == "POST":
            return self._save(json.loads(request.body)["dashboard"])
        if request.path == "/api/search":
            return [
                {
                    "uid": uid,
                    "title": item["board"]["title"],
                    "type": "dash-db",
                    "tags": item["board"].get("tags", []),
                    "folderTitle": item["folder"],
                    "url": f"/d/{uid}",
                }
                for uid, item in {**self._made_by_hand(), **self.dashboards}.items()
            ]
        if request.path == "/api/ds/query" and request.method == "POST":
            return self._panel(json.loads(request.body)["queries"])
        if request.path == "/api/datasources":
            return self.datasources
        return self._item(request)

    def _item(self, request: Request) -> Any:
        board = re.fullmatch(r"/api/dashboards/uid/([^/]+)", request.path)
        if board:
            return self._dashboard(board.group(1), request.method == "DELETE")
        found = re.fullmatch(r"/api/datasources/(proxy/)?uid/([^/]+)(/.*)?", request.path)
        source = next((item for item in self.datasources if found and item["uid"] == found.group(2)), None)
        if not found or source is None:
            raise Answer(404, {"message": "Not found"})
        if found.group(1):
            status, text = self.ask(
                source, (found.group(3) or "/") + (f"?{request.query_text}" if request.query_text else ""), request
            )
            raise Answer(status, text, "application/json")
        if found.group(3) == "/health":
            if source["type"] not in HEALTH:
                raise Answer(
                    404, {"message": "Plugin not found", "messageId": "plugin.notRegistered", "statusCode": 404}
                )
            status, text = self._query(source, HEALTH[source["type"]])
            good = status == 200
            raise Answer(
                200 if good else 400,
                {
                    "message": "Successfully queried the API." if good else f"{status}: {text[:200]}",
                    "status": "OK" if good else "ERROR",
                },
            )
        return source

    def _query(self, source: Dict[str, Any], expr: str) -> Tuple[int, str]:
        return self.ask(source, QUERY[source["type"]] + urllib.parse.quote(expr, safe=""))

    def _panel(self, queries: List[Dict[str, Any]]) -> Dict[str, Any]:
        """Answer as to a panel: instant queries, a frame with times and values for each series."""
        results: Dict[str, Any] = {}
        for one in queries:
            source = next((item for item in self.datasources if item["uid"] == one["datasource"]["uid"]), None)
            if source is None:
                raise Answer(404, {"message": "Data source not found"})
            status, text = self._query(source, one["expr"])
            if status != 200:
                raise Answer(400, {"results": {one["refId"]: {"error": text[:200], "status": status, "frames": []}}})
            samples = [item["value"] for item in json.loads(text)["data"]["result"]]
            frames = [{"schema": {"refId": one["refId"]}, "data": {"values": [[at], [value]]}} for at, value in samples]
            results[one["refId"]] = {"status": 200, "frames": frames}
        return {"results": results}

    def _made_by_hand(self) -> Dict[str, Dict[str, Any]]:
        boards: Dict[str, Any] = self.database.read().get("boards", {})
        return {
            uid: {"board": board, "folder": "General", "file": "", "locked": False} for uid, board in boards.items()
        }

    def _save(self, board: Dict[str, Any]) -> Dict[str, Any]:
        """Keep a dashboard that somebody made; one from a file is read-only unless its provider has allowUiUpdates."""
        uid = board.get("uid") or secrets.token_hex(6)
        if uid in self.dashboards and self.dashboards[uid]["locked"]:
            raise Answer(400, {"message": "Cannot save provisioned dashboard"})
        self.database.write(boards={**self.database.read().get("boards", {}), uid: {**board, "uid": uid}})
        return {"uid": uid, "url": f"/d/{uid}", "status": "success", "version": 1}

    def _dashboard(self, uid: str, delete: bool) -> Dict[str, Any]:
        item = self.dashboards.get(uid) or self._made_by_hand().get(uid)
        if item is None:
            raise Answer(404, {"message": "Dashboard not found"})
        title = item["board"]["title"]
        if delete and item["file"]:
            raise Answer(400, {"message": "provisioned dashboard cannot be deleted"})
        if delete:
            boards = self.database.read()["boards"]
            self.database.write(boards={other: boards[other] for other in boards if other != uid})
            return {"title": title, "message": f"Dashboard {title} deleted"}
        meta = {"type": "db", "provisioned": item["locked"], "provisionedExternalId": item["file"], "canEdit": True}
        return {"meta": {**meta, "folderTitle": item["folder"], "url": f"/d/{uid}"}, "dashboard": item["board"]}

    def ask(self, source: Dict[str, Any], path: str, request: Optional[Request] = None) -> Tuple[int, str]:
        """Ask the datasource's server; 502 when it does not answer."""
        method = request.method if request else "GET"
        outgoing = urllib.request.Request(
            source["url"].rstrip("/") + path, (request.body or None) if request else None, method=method
        )
        if request and request.headers.get("Content-Type"):
            outgoing.add_header("Content-Type", request.headers["Content-Type"])
        try:
            with urllib.request.urlopen(outgoing, timeout=15) as answer:
                status, text = answer.status, answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode("utf-8", "replace")
        except OSError as error:
            status, text = 502, str(error)
        self.metrics.add(
            "grafana_datasource_request_total",
            datasource=source["name"],
            datasource_type=source["type"],
            code=str(status),
            method=method,
        )
        return status, text


def reset(arguments: List[str]) -> None:
    """`grafana cli admin reset-admin-password`, with the password as an argument or on standard input."""
    found, rest = flags(
        arguments, {"homepath": "", "config": "/etc/grafana/grafana.ini", "password-from-stdin": None, "user-id": "1"}
    )
    if rest[:2] != ["admin", "reset-admin-password"]:
        die(f"stand-in: grafana cli {' '.join(rest)} is not known")
    given = rest[2] if len(rest) > 2 else ""
    password = sys.stdin.readline().strip() if found.get("password-from-stdin") else given
    if len(password) < 4:  # Grafana's own limit
        die("Error: ✗ new password is too short")
    Database(Settings(found["config"])).set_password(password)
    print("Admin password changed successfully ✔")


def main() -> None:
    """Run as the real program does."""
    command, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if command == "cli":
        reset(arguments)
        return
    if command in ("-v", "--version"):
        print("grafana version stand-in")
        return
    if command != "server":
        die(f"stand-in: grafana {command} is not known")
    found, _ = flags(arguments, {"homepath": "", "config": "/etc/grafana/grafana.ini", "packaging": ""})
    settings = Settings(found["config"])
    serve(
        int(settings.get("server", "http_port", "3000")),
        Grafana(settings).handle,
        settings.get("server", "http_addr") or "0.0.0.0",
    )


if __name__ == "__main__":
    main()
