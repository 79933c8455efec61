"""Commands of services: options for development, secrets, and servers that are called otherwise here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Optional

from scripts.van import celery, secrets
from scripts.van.notes import Notes

DEVELOPMENT = ("--reload", "--debug")
# Options of Flower that hold secrets, and the variables that it reads in their place
FLOWER = {
    "--broker": "CELERY_BROKER_URL",
    "-b": "CELERY_BROKER_URL",
    "--basic-auth": "FLOWER_BASIC_AUTH",
    "--basic_auth": "FLOWER_BASIC_AUTH",
}


class Commands:
    """Changes the command of an item; ``rename`` and ``secret_of`` are those of scripts.van.items."""

    def __init__(
        self,
        notes: Notes,
        rename: Callable[[str, str, str], Optional[str]],
        secret_of: Callable[[str, str, str], str],
    ) -> None:
        self.notes, self.rename, self.secret_of = notes, rename, secret_of

    def adapt(self, name: str, item: dict[str, Any], given: Mapping[str, Any], where: str) -> None:
        """Change ``item["command"]``, and add what it needs to ``secret_environment``.

        :param name: the service
        :param given: its variables as the compose file has them
        :param where: file and line of its command
        """
        words = [str(word) for word in item["command"]]
        for option in [word for word in words if word in DEVELOPMENT]:
            words.remove(option)
            self.notes.add("changed", where, name, f"{option} is for development and was taken out of the command")
        if "runserver" in words or words[:2] == ["flask", "run"]:
            self.notes.add(
                "hand", where, name, f"{' '.join(words)} is a server for development; use gunicorn or uvicorn"
            )
        found = celery.recognise(words)
        if found and found.kind == "flower":
            words = self._flower(name, item, words, where)
        item["command"] = self._told(name, item, words, given, where)

    def _flower(self, name: str, item: dict[str, Any], words: list[str], where: str) -> list[str]:
        kept, rest = [], list(words)
        while rest:
            option, equals, value = rest.pop(0).partition("=")
            if option not in FLOWER:
                kept.append(option + equals + value)
                continue
            value = value if equals or not rest else rest.pop(0)
            variable = FLOWER[option]
            hidden = item.setdefault("secret_environment", {})
            hidden.setdefault(variable, self.rename(name, variable, value) or self.secret_of(name, variable, value))
            self.notes.add("changed", where, name, f"{option} is said by {variable}, which ps does not show")
        return kept

    def _told(
        self, name: str, item: dict[str, Any], words: list[str], given: Mapping[str, Any], where: str
    ) -> list[str]:
        """The words, with variables of a shell for what is a secret or called otherwise here."""
        told, shell = [], False
        for word in words:
            option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
            variable = next((key for key, text in given.items() if value and str(text) == value), "")
            moved = variable and variable in (item.get("secret_environment") or {})
            other = "://" in value and self.rename(name, "URL", value) is not None
            if moved and celery.shell_script(words) is None:
                told.append(shlex.quote(option + equals) * bool(option) + f'"${variable}"')
                shell = True
                continue
            told.append(shlex.quote(word))
            if other:
                self.notes.add(
                    "hand",
                    where,
                    name,
                    f"its command names {_host(value)}, which is called otherwise here and has a password; give the "
                    "address by secret_environment, and the command as sh -c with that variable",
                )
            elif secrets.is_secret(option.strip("-").replace("-", "_") or "ARGUMENT", value) and (
                option or "://" in value
            ):
                self.notes.add(
                    "hand",
                    where,
                    name,
                    f"its command holds a secret ({option or 'a URL'}), which ps and main.yml show; give it by "
                    "secret_environment, and the command as sh -c with that variable",
                )
        if not shell:
            return words
        self.notes.add("changed", where, name, "its command takes what is secret from its variables, by a shell")
        return ["sh", "-c", "exec " + " ".join(told)]


def _host(value: str) -> str:
    found = re.search(r"://(?:[^@/]*@)?([^:/]+)", value)
    return found[1] if found else value
