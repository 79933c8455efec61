"""What the text of a variable must look like, judged with the inventory and not by a program on the VPS.

A format is chosen by the end of a variable's name; what the name does not say stands in the role's meta/formats.yml:

    formats: {app_services.ready: url_path}     # path in the argument spec; .* for the values of a map, .<key> its keys
    free: [docker_daemon_options]               # handed on as it is, whatever its shape
    deep: [app_services.compose]                # a map that may hold maps and lists; its texts are judged all the same
    at_most: {x_timeout: x_interval}    # durations or sizes
"""

from __future__ import annotations

import ipaddress
import os
import posixpath
import re
from typing import Any, Callable, Dict, List, Mapping, Optional

from ansible_collections.landfall.vps.plugins.module_utils import units
from ansible_collections.landfall.vps.plugins.plugin_utils import dangers, jobs, quick_yaml, quoting

FILE = os.path.join("meta", "formats.yml")
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
_URL_SIGNS = r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]"
# @marker hosts kind key comment
KNOWN_HOST = re.compile(
    r"(?:@(?:cert-authority|revoked) +)?[^\s@#][^\s]* +(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ +AAAA[A-Za-z0-9+/]+={0,2}(?: .*)?",
    re.ASCII,
)
SHARED = ("/bin", "/boot", "/lib", "/media", "/mnt", "/opt", "/run", "/sbin", "/srv", "/tmp", "/usr")  # noqa: S108
# Docker's own: a registry before the first slash has a dot, a port or the name localhost; all else is in small letters
_IMAGE = re.compile(
    r"(?:(?=[^/]*[.:]|localhost/)[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*(?:[:@][A-Za-z0-9._:@+-]*)?",
    re.ASCII,
)
_SIGNALS = (
    "ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IOT?|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM|TRAP|TSTP|"
    r"TTIN|TTOU|URG|USR[12]|VTALRM|WINCH|XCPU|XFSZ|RTMIN(?:\+(?:[1-9]|1[0-5]))?|RTMAX(?:-(?:[1-9]|1[0-4]))?"
)
_TMPFS_OPTION = (
    r"(?:(?:size|nr_inodes|nr_blocks)=[0-9]+[kKmMgG%]?|mode=[0-7]{1,5}|[ug]id=[0-9]+|mpol=[a-z:0-9-]+|[a-z]+)"
)
_BAD_ESCAPE = r"(?!.*%(?![0-9A-Fa-f]{2}))"


def _form(pattern: str, what: str, example: str) -> Callable[[str], str]:
    compiled = re.compile(pattern, re.ASCII | re.DOTALL)
    return lambda text: "" if compiled.fullmatch(text) else "is no {0}; write one such as {1}".format(what, example)


def _line(text: str) -> str:
    if all(char.isprintable() for char in text):
        return ""
    return "has a line break or another control character; write one line of printable text"


def _word(text: str) -> str:
    return _line(text) or ("" if text and not re.search(r"\s", text) else "must be one word without blanks")


def _name(text: str) -> str:
    if re.fullmatch(LABEL, text, re.ASCII):
        return ""
    return "is no name; use 1 to 63 lower case letters, digits and hyphens, a letter or digit at both ends"


def _queue(text: str) -> str:
    if any(sign in text for sign in ",\"'`\\{}"):
        return "has a comma, a quote, a backslash or a brace; name queues without, and list them one by one"
    return _word(text)


def _job(text: str) -> str:
    # It stands in rules: in an expression, and in a label that Prometheus takes for a template
    if any(sign in text for sign in "\"'`\\{}"):
        return "has a quote, a backslash or a brace, which rules cannot hold; name the job without"
    return _line(text)


def _password(text: str) -> str:
    if _line(text) or text != text.strip() or not text:
        return "must be one line that is not empty, without blanks at its ends, which programs drop"
    return ""


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "is no network; write one such as 172.30.0.0/24"
    return ""


def _proxy(text: str) -> str:
    return "" if text == "*" else _network(text).replace("is no network", "is no address or network")


def _regex(text: str) -> str:
    if _line(text):
        return _line(text)
    if re.search(r"\(\?(?:[=!>]|<[=!])|\\[1-9]|[*+?}]\+", text):
        return "uses what RE2 does not know (lookaround, backreference or possessive repeat)"
    try:
        re.compile(text)
    except re.error as error:
        return "is no regular expression: {0}".format(error)
    return ""


def _emails(text: str) -> str:
    one = re.compile(r"(?:[^@<>,\n]*<[^@\s<>,]+@[^@\s<>,]+>|[^@\s<>,]+@[^@\s<>,]+)")
    if _line(text) == "" and all(one.fullmatch(part.strip()) for part in text.split(",")):
        return ""
    return "is no address; write one such as you@example.org"


def _pem(text: str) -> str:
    return "" if not text or "-----BEGIN " in text else "is no PEM text; give all from -----BEGIN on"


def _image(text: str) -> str:
    if _IMAGE.fullmatch(text):
        return ""
    folder, slash, last = text.rpartition("/")
    name = re.split("[:@]", last, maxsplit=1)[0]
    small = folder.lower() + slash + name.lower() + last[len(name) :]
    if _IMAGE.fullmatch(small):
        return "has capital letters in its name, which no registry takes; write {0}".format(small)
    return "is no image; write one such as example/api:1.2.3"


def _words(text: str) -> str:
    try:
        quoting.words(text)
    except quoting.QuotingError as error:
        return "is no command: {0}".format(error)
    return ""


def _caddyfile_word(text: str) -> str:
    try:
        quoting.caddyfile_text(text, placeholders=True)
    except quoting.QuotingError as error:
        return "{0}; write a secret as {{file./run/secrets/NAME}}".format(error)
    return ""


def _caddyfile_words(text: str) -> str:
    return _words(text) or next(
        (fault for word in quoting.words(text) for fault in [_caddyfile_word(word)] if fault), ""
    )


def _root(text: str) -> str:
    path = posixpath.normpath(text)
    if not re.fullmatch(r"(?:/[A-Za-z0-9._-]+)+/?", text, re.ASCII) or path != text.rstrip("/"):
        return "is no folder for the stack; write an absolute path of letters, digits, . _ and -, such as /opt/landfall"
    if path in dangers.WHOLE or path in SHARED or path.startswith(tuple(one + "/" for one in dangers.SYSTEM)):
        return "is a folder of the system, which is not the stack's alone; write one such as /opt/landfall"
    return ""


def _known_hosts(text: str) -> str:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.isprintable() or not (KNOWN_HOST.fullmatch(line) or not line.strip() or line.startswith("#")):
            return "line {0} is none of OpenSSH's known_hosts; write what ssh-keyscan prints: HOST KIND KEY".format(
                number
            )
    return ""


def _none(_text: str) -> str:
    return ""


def _duration(dialect: str) -> Callable[[str], str]:
    return lambda text: units.duration_fault(text, dialect).replace("'{0}' ".format(text), "", 1)


def _size(dialect: str) -> Callable[[str], str]:
    return lambda text: units.size_fault(text, dialect).replace("'{0}' ".format(text), "", 1)


FORMATS: Dict[str, Callable[[str], str]] = {
    "text": _none,
    "line": _line,
    "word": _word,
    "words": _words,
    "name": _name,
    "queue": _queue,
    "job": _job,
    "password": _password,
    "network": _network,
    "proxy": _proxy,
    "regex": _regex,
    "emails": _emails,
    "pem": _pem,
    "caddyfile_word": _caddyfile_word,
    "caddyfile_words": _caddyfile_words,
    "known_hosts": _known_hosts,
    "root": _root,
    "image": _image,
    "release": _form(
        r"(?:[A-Za-z0-9][A-Za-z0-9._+-]{0,79})?", "name of a release", "v1.2.0: up to 80 letters, digits, . _ + and -"
    ),
    "host": _form(_HOST, "host", "db.example.com"),
    "sql_name": _form(
        r"[a-z_][a-z0-9_-]{0,62}",
        "name for a database",
        "shop: up to 63 lower case letters, digits, _ and -, a letter first",
    ),
    "scheme": _form(r"[a-z][a-z0-9.+-]*", "scheme of a URL", "postgresql+psycopg"),
    "sql_setting": _form(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?", "name of a setting", "random_page_cost"),
    "sql_value": _form(r"[^'\\\x00-\x1f\x7f]*", "value of a setting", "1.1 or 10min; no quote, no backslash"),
    "address": _form(_HOST + ":[0-9]{1,5}", "address", "host:9090"),
    "target": _form(
        "{0}:[0-9]{{1,5}}|(?=.*[.]){0}".format(_HOST),
        "address",
        "host:9090, or shop.example.org for the scheme's own port",
    ),
    "url": _form(
        _BAD_ESCAPE + r"https?://" + _HOST + r"(?::[0-9]{1,5})?(?:[/?#]" + _URL_SIGNS + "*)?",
        "URL",
        "https://example.org/path; percent-encode what is special",
    ),
    "broker_url": _form(
        _BAD_ESCAPE + r"(?:rediss?|sentinel|amqps?|valkeys?)://" + _URL_SIGNS + "+",
        "URL of a broker",
        "rediss://:password@broker:6379/0; percent-encode what is special",
    ),
    "repository": _form(
        r"/[^\x00-\x1f\x7f:]+|sftp:[^\s:@]+(?:@[^\s:@]+)?:[^\s]+|s3:(?:https?://)?[^\s@]+",
        "place for backups",
        "/mnt/backup/landfall, sftp://user@host:22//srv/backup or s3:https://s3.example.org/bucket; keys apart",
    ),
    "url_path": _form(_BAD_ESCAPE + "/" + _URL_SIGNS.replace("#", "") + "*", "path of a URL", "/health"),
    "path": _form(r"/[^\x00-\x1f\x7f:]*", "absolute path", "/data"),
    "file": _form(r"[^\x00-\x1f\x7f]+", "path", "/srv/project"),
    "file_name": _form(
        r"(?!(?:.*/)?\.{1,2}(?:/|$))[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*", "name of a file", "home.json"
    ),
    "mount": _form(r"[^:\x00-\x1f\x7f]+:/[^:\x00-\x1f\x7f]*(?::[a-z,]+)?", "mount", "data:/data or /srv/x:/x:ro"),
    "tmpfs": _form(r"/[^:\x00-\x1f\x7f]*(?::{0}(?:,{0})*)?".format(_TMPFS_OPTION), "tmpfs", "/cache:size=64m"),
    "publish": _form(r"[0-9a-fA-F.:\[\]]+(?:/(?:tcp|udp))?", "published port", "127.0.0.1:9090:9090"),
    "signal": _form(r"[1-9]|[1-5][0-9]|6[0-4]|(?:SIG)?(?:{0})".format(_SIGNALS), "signal", "SIGINT"),
    "ulimit": _form(r"-1|[0-9]+", "limit", "65536, -1 for none, or {soft: 1024, hard: 65536}"),
    "extra_host": _form(
        r"[A-Za-z0-9_][A-Za-z0-9_.-]*[:=](?:host-gateway|\[?[0-9A-Fa-f.:]+\]?)",
        "name of a machine with its address",
        "db.example.org:192.0.2.7",
    ),
    "user": _form(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?", "user", "1000:1000"),
    "environment_name": _form("[A-Za-z_][A-Za-z0-9_.-]*", "name of an environment variable", "API_KEY"),
    "secret_name": _form("[A-Za-z_][A-Za-z0-9_]*", "name of a secret", "API_KEY"),
    "label_name": _form("[a-zA-Z_][a-zA-Z0-9_]*", "name of a label", "team"),
    "docker_name": _form("[a-zA-Z0-9][a-zA-Z0-9_.-]*", "name for Docker", "landfall"),
    "docker_label": _form("[a-zA-Z0-9][a-zA-Z0-9_./-]*", "label of a container", "com.example.team"),
    "prefix": _form(r"|[a-z][a-z0-9-]{0,20}-", "prefix", "shop-, which ends with a hyphen"),
    "email": _form(
        r"[^@\s<>,\"{}\x7f-\xa0\u2028\u2029]+@[^@\s<>,\"{}\x7f-\xa0\u2028\u2029]+", "address", "you@example.org"
    ),
    "module": _form(r"[A-Za-z_][A-Za-z0-9_.:]*", "name of a module", "shop.worker"),
    "channel": _form(r"[^\s{}\x00-\x1f\x7f]+", "channel", "#alerts"),
    "header": _form(r"[A-Za-z0-9=;, _-]*", "value of a header", "max-age=31536000"),
    "directive": _form(r"[a-z][a-z0-9-]*", "name of a setting", "notify-keyspace-events"),
    "directive_value": _form(r"[^\x00-\x1f\x7f\"'\\#]*", "value of a setting", "Ex, without quotes, backslashes and #"),
    "checksum": _form(r"[a-z0-9]+:[0-9a-f]+", "checksum", "sha256:15…"),
    "registry": _form(r"(?:https?://)?" + _HOST + r"(?::[0-9]{1,5})?/?", "registry", "registry.example.com:5000"),
    "schedule": jobs.schedule_fault,
    "port": _form(
        r"[1-9][0-9]{0,4}(?:-[1-9][0-9]{0,4})?/(?:tcp|udp)", "port with its protocol", "8443/tcp or 60000-61000/udp"
    ),
    "interface": _form(r"[A-Za-z0-9_.@-]{1,15}[*]?", "interface", "wg0 or tailscale*"),
    "tunnel": _form(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", "interface", "wg-landfall, of up to 15 letters"),
    "clock": _form(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", "time of day", "04:00"),
    "login": _form(r"[a-z_][a-z0-9_-]{0,31}", "name of a user", "deploy"),
    "public_key": _form(
        r"(?:ssh-[a-z0-9]+|ecdsa-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,2}(?: [^\x00-\x1f\x7f]*)?",
        "public key",
        "the one line of ~/.ssh/id_ed25519.pub",
    ),
    "database": _form(r"[^\s/?#&%\x00-\x1f\x7f]+", "name of a database", "shop"),
    **{"duration:" + dialect: _duration(dialect) for dialect in units.DURATIONS},
    **{"size:" + dialect: _size(dialect) for dialect in units.SIZES},
}
# The end of a path in the argument specs to the format; the first that fits. An empty text means "not set" to most
# variables of roles, so it passes unless the format is one of these.
NEVER_EMPTY = frozenset({"name", "queue", "environment_name", "secret_name", "label_name", "image", "mount",
                         "tmpfs", "publish"})  # fmt: skip
_RULES = [
    (re.compile(pattern + "$"), form)
    for pattern, form in (
        (r"environment\.<key>", "environment_name"),
        (r"environment\.\*", "text"),
        (r"secrets\.<key>", "secret_name"),
        (r"secrets\.\*", "text"),
        (r"labels\.<key>", "label_name"),
        (r"labels\.\*", "line"),
        (r"[._]image", "image"),
        (r"[._]publish", "publish"),
        (r"[._](memory|memory_reservation|maxmemory|image_size|reserve|max_size)", "size:docker"),
        (r"[._]password", "password"),
        (r"(_url|_directory)", "url"),
        (r"_host", "host"),
        (r"[._](arguments|flags|command|entrypoint)|_health", "words"),
        (r"[._](path|ready)", "url_path"),
        (r"_paths", "url_path"),
        (r"[._]queues", "queue"),
        (r"\.ulimits\.\*(?:\.(?:soft|hard))?", "ulimit"),
        (r"[._](targets|upstreams|alertmanagers|smarthost)", "address"),
        (r"[._]volumes", "mount"),
        (r"_retention_size", "size:metrics"),
        (r"_interval|_timeout|[._](interval|timeout)|_(wait|retention_time)|_alert_\w+_for", "duration:metrics"),
        (r"_subnet|_address_pool", "network"),
        (r"\.name", "name"),
    )
]

# Of these, 0 is no time at all: programs take it for their own default, for ever, or end on it
_LASTS = re.compile(r"[._](?:interval|timeout|retention|retention_time|keepalive|max_age|older_than)$")
_MEMORY = re.compile(r"[._]memory$")


def load(roles_folder: str, role: str) -> Dict[str, Any]:
    """What the role's meta/formats.yml says: ``formats``, ``free``, ``deep``, ``at_most`` and ``instead``.

    ``filled`` lists variables whose default may be nothing, which is not enough. Raises OSError, YAMLError.
    """
    path = os.path.join(roles_folder, role, FILE)
    said: Mapping[str, Any] = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as handle:
            said = quick_yaml.load(handle.read()) or {}
    result: Dict[str, Any] = {key: said.get(key) or {} for key in ("formats", "at_most", "instead")}
    return {**result, **{key: said.get(key) or [] for key in ("free", "deep", "filled")}}


def format_of(spec: str, said: Mapping[str, Any]) -> Optional[str]:
    """The format of the text at this path of the argument specs, or None if nothing names one."""
    own = said.get("formats", {}).get(spec)
    return own or next((form for rule, form in _RULES if rule.search(spec)), None)


def amount_fault(path: str, text: str, form: str) -> str:
    """What is wrong with a duration or size that is written well, by the end of its variable's name; or nothing."""
    if form.startswith("duration:") and _LASTS.search(path) and units.nanoseconds(text) == 0:
        return "is no time at all; write one above 0, or leave it out for that of the role"
    if form == "size:docker" and _MEMORY.search(path) and 0 < units.size(text) < units.SMALLEST_MEMORY:
        return "is less than the 6m that Docker takes at least; a number alone is bytes, write a unit such as 512m"
    return ""


def text_fault(path: str, text: str, form: str, secret: bool) -> Optional[str]:
    """What is wrong with a text of this format, or None. The text of a secret is not repeated."""
    if not text and form not in NEVER_EMPTY:
        return None
    fault = FORMATS[form](text) or amount_fault(path, text, form)
    if not fault:
        return None
    shown = "" if secret else "{0!r} ".format(text if len(text) <= 80 else text[:80] + "…")
    return "{0}: {1}{2}".format(path, shown, fault)


def order_faults(at_most: Mapping[str, str], values: Mapping[str, Any]) -> List[str]:
    """Faults of durations and sizes that must not be above another variable's."""
    faults = []
    for small, large in sorted(at_most.items()):
        pair = [str(values[name]) for name in (small, large) if values.get(name)]
        if len(pair) < 2:
            continue
        for measure in (units.nanoseconds, units.size):
            try:
                first, second = measure(pair[0]), measure(pair[1])
            except ValueError:
                continue
            if first > second:
                form = "{0}: {1} is more than {2} ({3}); choose at most that"
                faults.append(form.format(small, pair[0], large, pair[1]))
            break
    return faults
