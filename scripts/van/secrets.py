"""What of an environment is a secret, by the name of its variable or by what it says."""

from __future__ import annotations

import re

NAMED = re.compile(
    r"PASS(?:WORD|WD|PHRASE)?(?:_|$)|PASSWORD|SECRET|TOKEN|(?:^|_)(?:API|ACCESS|PRIVATE|SIGNING|ENCRYPTION|LICENSE|AUTH)?_?KEY"
    r"(?:_|$|S$)|KEY$|DSN$|CREDENTIAL|(?:^|_)SALT(?:_|$)|WEBHOOK|(?:^|_)PWD(?:_|$)|COOKIE$|(?:^|_)CERT(?:_|$)"
)
HARMLESS = re.compile(
    r"_(?:FILE|PATH|DIR|ALGORITHM|ALG|EXPIRES?|EXPIRY|EXPIRATION|MINUTES|SECONDS|HOURS|DAYS|TTL|LIFETIME|LENGTH|AGE|NAME|"
    r"PREFIX|HEADER|TYPE|BACKEND|ENABLED|DISABLED|RESET|VALIDATORS|HASHERS)(?:_|$)|PUBLIC|^NO_|_NO_|SESSION_COOKIE"
)
PLAIN = re.compile(r"(?i:true|false|yes|no|on|off|none|null|[0-9]{1,5}(?:\.[0-9]+)?)")
URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)
BEGINS = re.compile(r"-----BEGIN |eyJ[A-Za-z0-9_-]{10,}\.|(?:sk|pk|ghp|gho|glpat|xox[abp])[-_][A-Za-z0-9_-]{10,}")


def is_secret(name: str, value: str) -> bool:
    """Whether a variable is one that nobody but its service should read."""
    if URL.search(value) or BEGINS.match(value):
        return True
    upper = name.upper()
    return bool(NAMED.search(upper)) and not HARMLESS.search(upper) and not PLAIN.fullmatch(value)


def fits_variable(value: str) -> bool:
    """Whether ``secret_environment`` can hold it: a quote, a backslash or a line break has to be a file."""
    return not re.search(r"['\\\n\r\0]", value)
