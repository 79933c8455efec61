"""What each container uses, against its limits, as cAdvisor measures it."""

from __future__ import annotations

from dashboards.alerts import default
from dashboards.board import Board, Variable
from dashboards.boards.common import CADVISOR, SEL, instance, job, rate
from dashboards.kit import ANY_IS_BAD, Q, bars, graph, rising, runbook, see, stat, table

ALL = f'{SEL}, name=~"$container"'
R = "[$__rate_interval]"
NEAR = rising(default("cadvisor_alert_memory_ratio"))
SEEN = default("landfall_alert_missing_seconds")
CPU = rate("container_cpu_usage_seconds_total", ALL, by="name")
MEMORY = f"max by (name) (container_memory_working_set_bytes{{{ALL}}})"
MEMORY_LIMIT = f"(max by (name) (container_spec_memory_limit_bytes{{{ALL}}}) > 0)"
THROTTLED = (
    f"sum by (name) (rate(container_cpu_cfs_throttled_periods_total{{{ALL}}}{R}))"
    f" / (sum by (name) (rate(container_cpu_cfs_periods_total{{{ALL}}}{R})) > 0)"
)


def used(counter: str) -> str:
    """Return the sum per second of a counter of each container."""
    return rate(counter, ALL, by="name")


BOARD = Board(
    name="containers",
    title="Landfall / Containers",
    text="Processor, memory, network and disk of each container against its limits; restarts and kills.",
    role="cadvisor",
    starts="$container",
    variables=[
        job("container_last_seen"),
        instance("container_last_seen"),
        Variable("container", "Container", f'container_last_seen{{{SEL}, name=~".+"}}', of="name"),
    ],
    rows=[
        (
            "At a glance",
            [
                stat(
                    "Containers",
                    f"Containers seen in the last {SEEN:g} s, after which the alert misses them.",
                    "short",
                    Q(f"count(time() - max by (name) (container_last_seen{{{ALL}}}) < {SEEN:g})"),
                    links=(runbook("ContainerMissing"),),
                ),
                stat(
                    "Cores in use",
                    "Cores used by all chosen containers.",
                    "short",
                    Q(f"sum({CPU})", every=CADVISOR),
                    decimals=2,
                ),
                stat("Memory in use", "Working set of all chosen containers.", "bytes", Q(f"sum({MEMORY})")),
                stat(
                    "Nearest to its memory limit",
                    "The container that uses most of its own limit; at 100 % the kernel kills it.",
                    "percentunit",
                    Q(f"max({MEMORY} / {MEMORY_LIMIT})"),
                    steps=NEAR,
                    decimals=1,
                    empty="no limits",
                    links=(runbook("ContainerMemoryNearLimit"),),
                ),
                stat(
                    "Restarts",
                    "Restarts of containers in the time range shown; a recreated one is another container.",
                    "short",
                    Q(f"sum(changes(container_start_time_seconds{{{ALL}}}[$__range]))", instant=True),
                    steps=rising(1, default("cadvisor_alert_restarts") + 1),
                    decimals=0,
                    links=(runbook("ContainerRestartLoop"),),
                ),
                stat(
                    "Killed for memory",
                    "Processes killed for lack of memory inside containers in the time range shown.",
                    "short",
                    Q(f"sum(increase(container_oom_events_total{{{ALL}}}[$__range]))", instant=True),
                    steps=ANY_IS_BAD,
                    decimals=0,
                    links=(runbook("ContainerOOMKilled"),),
                ),
            ],
        ),
        (
            "Processor and memory",
            [
                graph(
                    "Processor", "Cores used, by container.", "short", Q(CPU, "{{name}}", every=CADVISOR), stack=True
                ),
                graph(
                    "Memory",
                    "Working set, by container: what counts against the limit and cannot be given back.",
                    "bytes",
                    Q(MEMORY, "{{name}}"),
                    stack=True,
                ),
                graph(
                    "Throttled",
                    "Share of scheduling periods in which a container had to wait because of its processor limit.",
                    "percentunit",
                    Q(THROTTLED, "{{name}}", every=CADVISOR),
                    width=8,
                    steps=rising(default("cadvisor_alert_throttled_ratio")),
                    links=(runbook("ContainerCPUThrottled"),),
                ),
                bars(
                    "Memory of limit",
                    "Working set as share of each container's own limit.",
                    "percentunit",
                    Q(f"{MEMORY} / {MEMORY_LIMIT}", "{{name}}"),
                    high=1,
                    steps=NEAR,
                    links=(runbook("ContainerMemoryNearLimit"),),
                ),
                graph(
                    "Processor of limit",
                    "Processor time as share of each container's own limit.",
                    "percentunit",
                    Q(
                        f"{CPU} / (max by (name) (container_spec_cpu_quota{{{ALL}}}"
                        f" / container_spec_cpu_period{{{ALL}}}))",
                        "{{name}}",
                        every=CADVISOR,
                    ),
                    width=8,
                    steps=rising(0.9),
                ),
            ],
        ),
        (
            "Network and disk",
            [
                graph(
                    "Received",
                    "Bytes per second received, by container.",
                    "Bps",
                    Q(used("container_network_receive_bytes_total"), "{{name}}", every=CADVISOR),
                    width=6,
                ),
                graph(
                    "Sent",
                    "Bytes per second sent, by container.",
                    "Bps",
                    Q(used("container_network_transmit_bytes_total"), "{{name}}", every=CADVISOR),
                    width=6,
                ),
                graph(
                    "Read from disk",
                    "Bytes per second read, by container.",
                    "Bps",
                    Q(used("container_fs_reads_bytes_total"), "{{name}}", every=CADVISOR),
                    width=6,
                ),
                graph(
                    "Written to disk",
                    "Bytes per second written, by container.",
                    "Bps",
                    Q(used("container_fs_writes_bytes_total"), "{{name}}", every=CADVISOR),
                    width=6,
                ),
            ],
        ),
        (
            "Each container",
            [
                table(
                    "Containers in numbers",
                    "Processor, memory, its limit and age of each container.",
                    "short",
                    Q(CPU, every=CADVISOR),
                    Q(MEMORY),
                    Q(MEMORY_LIMIT),
                    Q(f"time() - max by (name) (container_start_time_seconds{{{ALL}}})"),
                    columns={
                        "name": "Container",
                        "Value #A": "Cores",
                        "Value #B": "Memory",
                        "Value #C": "Limit",
                        "Value #D": "Age",
                    },
                    units={"Memory": "bytes", "Limit": "bytes", "Age": "s"},
                    height=10,
                    links=(see("Logs of the chosen containers", "logs", "${container:queryparam}"),),
                ),
            ],
        ),
    ],
)
