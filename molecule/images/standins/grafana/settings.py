"""The settings of the stand-in for Grafana: those of the real one that the role uses, no others."""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path

from standin import die

# The settings of this stack, by section. The real program has more and says nothing about one it does not know; a
# stand-in that did the same would let a misspelt one pass.
KNOWN = {
    "server": "http_port http_addr root_url domain serve_from_sub_path enable_gzip protocol",
    "database": "type wal path",
    "paths": "data logs plugins provisioning",
    "security": "admin_user admin_password admin_email secret_key cookie_secure cookie_samesite disable_gravatar "
    "content_security_policy x_content_type_options strict_transport_security allow_embedding "
    "disable_initial_admin_creation disable_brute_force_login_protection",
    "users": "allow_sign_up allow_org_create default_theme",
    "auth": "disable_login_form disable_signout_menu login_cookie_name",
    "auth.anonymous": "enabled org_name org_role",
    "auth.basic": "enabled",
    "dashboards": "min_refresh_interval default_home_dashboard_path versions_to_keep",
    "unified_alerting": "enabled execute_alerts",
    "metrics": "enabled basic_auth_username basic_auth_password disable_total_stats",
    "analytics": "reporting_enabled check_for_updates check_for_plugin_updates feedback_links_enabled",
    "news": "news_feed_enabled",
    "snapshots": "external_enabled",
    "plugins": "plugin_admin_enabled preinstall preinstall_disabled preinstall_auto_update "
    "public_key_retrieval_disabled",
    "log": "mode level",
    "feature_toggles": "enable",
}


class Settings:
    """grafana.ini, with GF_SECTION_KEY from the environment above it and $__file{} replaced."""

    def __init__(self, path: str) -> None:
        self.ini = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            with open(path, encoding="utf-8") as handle:  # noqa: PTH123  the parser wants the handle
                self.ini.read_file(handle, path)
        except (OSError, configparser.Error) as error:
            die(f'failed to parse "{path}": {error}')
        for section in self.ini.sections():
            for key in self.ini[section]:
                if section not in KNOWN or key not in KNOWN[section].split():
                    die(f"stand-in: {path}: [{section}] {key} is not a setting that it knows")

    def get(self, section: str, key: str, default: str = "") -> str:
        """One setting. Ends the program when its file cannot be read, as the real one does."""
        variable = f"GF_{section}_{key}".upper().replace(".", "_").replace("-", "_")
        value = str(os.environ.get(variable) or self.ini.get(section, key, fallback=default))
        found = re.fullmatch(r"\$__file\{(.+)\}", value.strip())
        if not found:
            return value
        try:
            return Path(found.group(1)).read_text(encoding="utf-8").strip()
        except OSError as error:
            die(f"failed to expand {section}.{key}: {error}")

    def on(self, section: str, key: str, default: bool = False) -> bool:
        """One switch."""
        return self.get(section, key, str(default)).lower() in ("true", "1", "yes", "on")
