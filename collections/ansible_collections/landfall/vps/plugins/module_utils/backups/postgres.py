"""PostgreSQL: a dump of each database, with its rows counted in the same snapshot, proven in a server of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from .repository import LONG, Repository, explained
from .tools import Fault, Reader, attempt, inspect, last_lines, piped, run, there, throw_away, until

BESIDE = re.compile(r"_(?:before|restoring)_\d{8}t\d{6}$")
"""Ends the names of databases that a restore keeps or makes."""
COUNT = r"""
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET extra_float_digits = 1;
SET bytea_output = 'hex'; SET search_path = '';
SELECT format('SELECT json_build_array(%L, count(*), coalesce(sum(pg_catalog.hashtextextended(landfall_row_::text, 0)),
    0)::text) FROM ONLY %I.%I landfall_row_', nspname || '.' || relname, nspname, relname)
  FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace space ON space.oid = relnamespace
  WHERE relkind = 'r' AND nspname <> 'information_schema' AND nspname !~ '^pg_' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
  ORDER BY nspname, relname \gexec
"""
"""Prints, for each table, its name, its rows and the sum of hashes over them, as JSON."""
DUMP = (
    r"""\set QUIET on
\o |cat >&2
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_export_snapshot() AS landfall_snapshot \gset
\setenv LANDFALL_SNAPSHOT :landfall_snapshot
"""
    + COUNT
    + r"""\! pg_dump --format=custom --compress=0 --snapshot="$LANDFALL_SNAPSHOT"
\if :SHELL_ERROR
  \warn pg_dump failed
  \quit 3
\endif
COMMIT;
SELECT '"whole"';
"""
)
DATABASES = """SELECT json_build_array(datname, pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype,
  datlocprovider, pg_catalog.pg_get_userbyid(datdba), pg_catalog.pg_database_size(oid))
  FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' ORDER BY datname"""
TERMINATE = """SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
  WHERE datname IN ({0}) AND pid <> pg_catalog.pg_backend_pid();"""


def psql(container: str, user: str, script: str, database: str = "postgres", timeout: float = 600.0) -> str:
    """What a script of SQL prints, without titles. Raises Fault with the server's words."""
    argv = _exec(container, user, database, ["psql", "--no-psqlrc", "-AtqX", "-v", "ON_ERROR_STOP=1", "-f", "-"], True)
    return run(argv, script.encode(), timeout).decode("utf-8", "replace")


def _exec(container: str, user: str, database: str, argv: Sequence[str], fed: bool = False) -> List[str]:
    options = ["--interactive"] if fed else []
    return ["docker", "exec", *options, "-e", "PGUSER=" + user, "-e", "PGDATABASE=" + database, container, *argv]


def identifier(name: str) -> str:
    """A name as SQL quotes it."""
    return '"{0}"'.format(name.replace('"', '""'))


def literal(text: str) -> str:
    """A text as SQL quotes it."""
    return "'{0}'".format(text.replace("'", "''"))


def databases(item: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The databases of a server that are kept: ``{name, encoding, collate, ctype, provider, owner, bytes}``."""
    keys = ("name", "encoding", "collate", "ctype", "provider", "owner", "bytes")
    rows = [json.loads(line) for line in psql(item["container"], item["user"], DATABASES).splitlines()]
    return [dict(zip(keys, row)) for row in rows if not BESIDE.search(row[0])]


# -- taking -------------------------------------------------------------------------------------------------------


def dump(item: Mapping[str, Any], stage: str) -> Dict[str, Any]:
    """Dump roles and each database into the folder ``stage``; what the manifest says of them.

    ``{databases: {name: {file, tables: {name: [rows, hash]}, …}}, image, user, preload}``. Raises Fault.
    """
    container, user = item["container"], item["user"]
    os.makedirs(stage, mode=0o700, exist_ok=True)
    globals_ = run(_exec(container, user, "postgres", ["pg_dumpall", "--globals-only"]), None, 600.0)
    with open(os.path.join(stage, "globals.sql"), "wb") as handle:
        handle.write(globals_)
    found: Dict[str, Any] = {}
    for number, one in enumerate(databases(item)):
        file = "{0:03d}.dump".format(number)
        with open(os.path.join(stage, file), "wb") as handle:
            tables = _dump(container, user, one["name"], handle)
        found[one["name"]] = {**one, "file": file, "tables": tables, "bytes": os.path.getsize(handle.name)}
    described = inspect(container)
    preload = psql(container, user, "SHOW shared_preload_libraries").strip()
    return {"databases": found, "image": described["Config"]["Image"], "user": user, "preload": preload}


def _dump(container: str, user: str, name: str, handle: Any) -> Dict[str, Any]:
    argv = _exec(container, user, name, ["psql", "--no-psqlrc", "-AtqX", "-v", "ON_ERROR_STOP=1", "-f", "-"], True)
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=handle, stderr=subprocess.PIPE)
    feed, said = there(process.stdin), Reader(there(process.stderr))
    try:
        feed.write(DUMP.encode())
        feed.close()
        status = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    text = said.all().decode("utf-8", "replace")
    rows = [json.loads(line) for line in text.splitlines() if line.startswith(("[", '"whole"'))]
    if status or not rows or rows[-1] != "whole":
        told = "\n".join(line for line in text.splitlines() if not line.startswith("["))
        raise Fault("{0}/{1}: the dump failed ({2}): {3}".format(container, name, status, last_lines(told.encode())))
    return {table: [count, total] for table, count, total in rows[:-1]}


# -- proving ------------------------------------------------------------------------------------------------------


def differences(noted: Mapping[str, Any], found: Mapping[str, Any]) -> List[str]:
    """How the tables that were restored differ from those that were dumped, each as a text."""
    told = []
    for table in sorted({*noted, *found}):
        if table not in found:
            told.append("table {0} is missing".format(table))
        elif table not in noted:
            told.append("table {0} was not there".format(table))
        elif noted[table] != found[table]:
            rows = "has {0} rows, not {1}".format(found[table][0], noted[table][0])
            same = found[table][0] == noted[table][0]
            told.append("table {0} {1}".format(table, "has other content" if same else rows))
    return told


def count(container: str, user: str, name: str) -> Dict[str, Any]:
    """The tables of a database with rows and hash, as ``dump`` notes them. Raises Fault."""
    rows = [json.loads(line) for line in psql(container, user, COUNT, name, LONG).splitlines() if line.startswith("[")]
    return {table: [number, total] for table, number, total in rows}


def prove(
    noted: Mapping[str, Any], repository: Repository, snapshot: str, folder: str, names: Tuple[str, str], scratch: str
) -> Dict[str, int]:
    """Restore every database of a snapshot into a server of its own without network and compare: rows by database.

    ``folder`` is where the snapshot has the dumps, ``names`` are (container, stack), ``scratch`` a folder for the
    server's files. Raises Fault with what differs.
    """
    name, stack = names
    user, image = str(noted["user"]), str(noted["image"])
    uid, gid = _numbers(image)
    data = os.path.join(scratch, "postgres")
    shutil.rmtree(data, ignore_errors=True)
    os.makedirs(data, mode=0o700)
    os.chown(data, uid, gid)
    options = ["--user={0}:{1}".format(uid, gid), "--volume={0}:/proof".format(data), "--memory=512m", "--cpus=1",
               "--tmpfs=/tmp:mode=1777", "--tmpfs=/var/run/postgresql:uid={0},gid={1}".format(uid, gid),
               "--shm-size=128m", "--env=PGDATA=/proof/data", "--entrypoint=sh"]  # fmt: skip
    script = (
        'initdb --pgdata=/proof/data --username="$1" --encoding=UTF8 --locale=C.UTF-8 --auth=trust'
        " --no-sync >/tmp/said"
        " && exec postgres -c listen_addresses= -c fsync=off -c full_page_writes=off -c autovacuum=off"
        ' -c unix_socket_directories=/var/run/postgresql -c shared_preload_libraries="$2" -c log_min_messages=fatal'
    )
    argv = ["-c", script, "sh", user, str(noted["preload"])]
    rows: Dict[str, int] = {}
    try:
        with throw_away(name, stack, image, options, argv):
            until(name, ["pg_isready", "--quiet", "--host=/var/run/postgresql"], 120.0, {})
            roles = repository.read(snapshot, folder + "/globals.sql")
            # The superuser is there already, which is the one complaint that is expected
            attempt(_exec(name, user, "postgres", ["psql", "--no-psqlrc", "-qX", "-f", "-"], True), roles, 600.0)
            for database, one in noted["databases"].items():
                source = repository.dump(snapshot, "{0}/{1}".format(folder, one["file"]))
                target = ["pg_restore", "--create", "--exit-on-error", "--no-password", "--dbname=postgres"]
                _fed(source, _exec(name, user, "postgres", target, True), database)
                wrong = differences(one["tables"], count(name, user, database))
                if wrong:
                    raise Fault("{0}: what was restored differs: {1}".format(database, "; ".join(wrong[:5])))
                rows[database] = sum(table[0] for table in one["tables"].values())
    finally:
        shutil.rmtree(data, ignore_errors=True)
    return rows


def _fed(source: Sequence[str], target: Sequence[str], database: str) -> None:
    status, said, ended, wrong = piped(source, target)
    if ended:
        raise Fault("{0}: pg_restore failed: {1}".format(database, last_lines(wrong)))
    if status:
        raise Fault("{0}: reading the dump failed: {1}".format(database, explained(last_lines(said))))


def _numbers(image: str) -> Tuple[int, int]:
    """User and group that PostgreSQL runs as in an image. Raises Fault."""
    asked = ["docker", "run", "--rm", "--network=none", "--cap-drop=ALL", "--pull=never", "--entrypoint=sh", image]
    out = run([*asked, "-c", "id -u postgres; id -g postgres"]).split()
    return int(out[0]), int(out[1])


# -- bringing back --------------------------------------------------------------------------------------------------


def beside(name: str, how: str, when: str) -> str:
    """The name of a database that a restore at ``when`` keeps (``before``) or makes (``restoring``)."""
    return "{0}_{1}_{2}".format(name[:36], how, when)


def prepare(
    item: Mapping[str, Any], noted: Mapping[str, Any], name: str, repository: Repository, snapshot: str, folder: str,
    when: str,
) -> int:  # fmt: skip
    """Restore a database under a name of its own beside the one in use, and compare: its rows. Raises Fault."""
    container, user, one = item["container"], item["user"], noted["databases"][name]
    fresh = beside(name, "restoring", when)
    roles = repository.read(snapshot, folder + "/globals.sql").decode("utf-8", "replace")
    # Roles that are there keep their passwords; one that is gone comes back without the right to sign in
    owners = re.findall(r"^CREATE ROLE (.+);$", roles, re.MULTILINE)
    known = set(psql(container, user, "SELECT pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles").splitlines())
    script = "".join("CREATE ROLE {0} NOLOGIN;\n".format(role) for role in owners if role not in known)
    provider = {"i": "icu", "b": "builtin"}.get(str(one["provider"]), "")
    locale = " LC_COLLATE {0} LC_CTYPE {1}".format(literal(one["collate"]), literal(one["ctype"]))
    if provider:  # what an image may not have is refused by the server
        locale += " LOCALE_PROVIDER {0}".format(provider)
    script += (
        "CREATE DATABASE {0} TEMPLATE template0 OWNER {1} ENCODING {2}{3};\nREVOKE ALL ON DATABASE {0} FROM PUBLIC;\n"
    )
    psql(container, user, script.format(identifier(fresh), identifier(one["owner"]), literal(one["encoding"]), locale))
    target = ["pg_restore", "--exit-on-error", "--no-password", "--dbname=" + fresh]
    _fed(
        repository.dump(snapshot, "{0}/{1}".format(folder, one["file"])),
        _exec(container, user, fresh, target, True),
        name,
    )
    wrong = differences(one["tables"], count(container, user, fresh))
    if wrong:
        raise Fault("{0}: what was restored differs: {1}".format(name, "; ".join(wrong[:5])))
    return sum(table[0] for table in one["tables"].values())


def settings(item: Mapping[str, Any], name: str) -> str:
    """The statements that give a database its own settings again, to be formatted with its name."""
    query = """SELECT format('ALTER DATABASE {{0}} SET %I TO %s;', split_part(one, '=', 1),
      CASE WHEN split_part(one, '=', 1) IN ('search_path', 'DateStyle', 'temp_tablespaces')
        THEN substr(one, strpos(one, '=') + 1) ELSE quote_literal(substr(one, strpos(one, '=') + 1)) END)
      FROM pg_catalog.pg_db_role_setting JOIN pg_catalog.pg_database base ON base.oid = setdatabase,
      unnest(setconfig) one WHERE datname = {0} AND setrole = 0"""
    return psql(item["container"], item["user"], query.format(literal(name)))


def swap(item: Mapping[str, Any], name: str, incoming: str, outgoing: str, tries: int = 20) -> None:
    """Let the database ``incoming`` take the name ``name``, whose database becomes ``outgoing``: both or neither.

    Sessions are ended: who uses it connects anew. Done already, it does nothing. Raises Fault.
    """
    container, user = item["container"], item["user"]
    known = set(psql(container, user, "SELECT datname FROM pg_catalog.pg_database").splitlines())
    if incoming not in known:
        if outgoing in known and name in known:
            return
        raise Fault("{0}: the database {1} is gone".format(name, incoming))
    script = TERMINATE.format(", ".join(map(literal, (name, incoming))))
    rename = "ALTER DATABASE {0} RENAME TO {1};"
    if name in known:
        script += settings(item, name).replace("{0}", identifier(incoming)) + "BEGIN;"
        script += rename.format(identifier(name), identifier(outgoing))
    else:
        script += "BEGIN;"
    script += rename.format(identifier(incoming), identifier(name)) + "COMMIT;"
    for attempt_ in range(tries):
        try:
            psql(container, user, script)
            break
        except Fault as fault:
            # Somebody was faster than the rename
            if "being accessed by other users" not in str(fault) or attempt_ == tries - 1:
                raise
    if item.get("restored"):
        run(["docker", "exec", container, *item["restored"]], None, 300.0)


def drop(item: Mapping[str, Any], name: str) -> None:
    """Drop a database that a restore kept or made, if it is there. Raises Fault."""
    if BESIDE.search(name):
        psql(item["container"], item["user"], "DROP DATABASE IF EXISTS {0} WITH (FORCE);".format(identifier(name)))
