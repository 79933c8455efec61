"""The keys of a Compose service: what becomes of each."""

SAME = (
    "entrypoint", "user", "cap_add", "extra_hosts", "ulimits", "shm_size", "working_dir", "stop_signal",
    "stop_grace_period", "tmpfs",
)  # fmt: skip
COMPOSE = (
    "hostname", "domainname", "dns", "dns_search", "sysctls", "devices", "security_opt", "group_add", "ipc", "gpus",
    "runtime", "pids_limit", "oom_score_adj", "mem_swap_limit", "platform", "cgroup_parent", "device_cgroup_rules",
)  # fmt: skip
SILENT = {
    "annotations", "attach", "build", "cap_drop", "command", "configs", "container_name", "cpu_count", "cpu_percent",
    "cpu_shares", "cpus", "depends_on", "deploy", "develop", "environment", "expose", "healthcheck", "image", "init",
    "isolation", "labels", "links", "logging", "mem_limit", "mem_reservation", "memswap_limit", "network_mode",
    "networks", "pid", "ports", "privileged", "pull_policy", "read_only", "replicas", "restart", "scale", "secrets",
    "stdin_open", "tty", "volumes",
}  # fmt: skip
