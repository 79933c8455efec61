"""The VPS itself: processor, memory, disk, network, clock."""

from __future__ import annotations

from dashboards.alerts import default, percent
from dashboards.board import Board
from dashboards.boards.common import BUSY_CPU, BUSY_MEMORY, DISKS, FULL_DISK, SEL, instance, job
from dashboards.kit import ANY_IS_BAD, Q, bars, graph, rising, runbook, see, stat

PLACES = f"{SEL}, {DISKS}"
CARDS = f'{SEL}, device!~"lo|veth.*|br-.*|docker.*"'
DEVICES = f'{SEL}, device!~"loop.*|ram.*|zram.*|dm-.*"'
R = "[$__rate_interval]"
TOTAL, FREE = f"node_memory_MemTotal_bytes{{{SEL}}}", f"node_memory_MemFree_bytes{{{SEL}}}"
BUFFERS = f"node_memory_Buffers_bytes{{{SEL}}}"
# Shared memory is counted as cache, but is given back to nobody; some of the kernel's own memory is given back
CACHE = (
    f"node_memory_Cached_bytes{{{SEL}}} + node_memory_SReclaimable_bytes{{{SEL}}} - node_memory_Shmem_bytes{{{SEL}}}"
)
NEARLY = rising(0.75, 0.9)
FULL_TEXT = f"The alert warns at {percent(default('node_exporter_alert_disk_ratio'))}."
CPU = f'1 - avg(rate(node_cpu_seconds_total{{{SEL}, mode="idle"}}{R}))'
MEMORY = f"1 - sum(node_memory_MemAvailable_bytes{{{SEL}}}) / sum(node_memory_MemTotal_bytes{{{SEL}}})"
DISK = f"1 - node_filesystem_avail_bytes{{{PLACES}}} / node_filesystem_size_bytes{{{PLACES}}}"

BOARD = Board(
    name="host",
    title="Landfall / Host",
    text="The VPS: processor, memory, disks, network, clock, and where it runs short.",
    role="node_exporter",
    starts="node-exporter",
    variables=[job("node_uname_info"), instance("node_uname_info")],
    rows=[
        (
            "At a glance",
            [
                stat(
                    "Up since", "Time since the host started.", "s", Q(f"time() - max(node_boot_time_seconds{{{SEL}}})")
                ),
                stat(
                    "Processor in use",
                    "Share of processor time in use. The alert warns at"
                    f" {percent(default('node_exporter_alert_cpu_ratio'))}.",
                    "percentunit",
                    Q(CPU),
                    steps=BUSY_CPU,
                    decimals=1,
                    links=(runbook("HighCPUUsage"), see("Containers", "containers")),
                ),
                stat(
                    "Memory in use",
                    "Share of memory that programs cannot have. The alert warns at"
                    f" {percent(default('node_exporter_alert_memory_ratio'))}.",
                    "percentunit",
                    Q(MEMORY),
                    steps=BUSY_MEMORY,
                    decimals=1,
                    links=(runbook("HighMemoryUsage"), see("Containers", "containers")),
                ),
                stat(
                    "Fullest disk",
                    f"Share used of the fullest file system. {FULL_TEXT}",
                    "percentunit",
                    Q(f"max({DISK})"),
                    steps=FULL_DISK,
                    decimals=1,
                    links=(runbook("HighDiskUsage"),),
                ),
                stat(
                    "Load per core",
                    "Programs that run or want to, per core, mean of 5 minutes.",
                    "none",
                    Q(f'sum(node_load5{{{SEL}}}) / count(node_cpu_seconds_total{{{SEL}, mode="idle"}})'),
                    steps=rising(1, 2),
                    decimals=2,
                ),
                stat(
                    "Killed for memory",
                    "Processes that the kernel killed for lack of memory in the time range shown.",
                    "short",
                    Q(f"sum(increase(node_vmstat_oom_kill{{{SEL}}}[$__range]))", instant=True),
                    steps=ANY_IS_BAD,
                    decimals=0,
                    links=(runbook("HostOOMKill"),),
                ),
            ],
        ),
        (
            "Processor",
            [
                graph(
                    "Processor time",
                    "Share of processor time by what it is spent on.",
                    "percentunit",
                    Q(
                        f'sum by (mode) (rate(node_cpu_seconds_total{{{SEL}, mode!="idle"}}{R}))'
                        f' / scalar(count(node_cpu_seconds_total{{{SEL}, mode="idle"}}))',
                        "{{mode}}",
                    ),
                    width=8,
                    stack=True,
                    links=(runbook("HighCPUUsage"),),
                ),
                graph(
                    "Load",
                    "Programs that run or want to, mean of 1, 5 and 15 minutes, and the number of cores.",
                    "short",
                    Q(f"sum(node_load1{{{SEL}}})", "1 minute"),
                    Q(f"sum(node_load5{{{SEL}}})", "5 minutes"),
                    Q(f"sum(node_load15{{{SEL}}})", "15 minutes"),
                    Q(f'count(node_cpu_seconds_total{{{SEL}, mode="idle"}})', "cores"),
                    width=8,
                ),
                graph(
                    "Pressure",
                    "Share of time in which some program waited for processor, memory or disk.",
                    "percentunit",
                    Q(f"max(rate(node_pressure_cpu_waiting_seconds_total{{{SEL}}}{R}))", "processor"),
                    Q(f"max(rate(node_pressure_memory_waiting_seconds_total{{{SEL}}}{R}))", "memory"),
                    Q(f"max(rate(node_pressure_io_waiting_seconds_total{{{SEL}}}{R}))", "disk"),
                    width=8,
                    steps=rising(0.3, 0.6),
                ),
            ],
        ),
        (
            "Memory",
            [
                graph(
                    "Memory",
                    "What memory is used for; the parts make up all there is. Cache and buffers are given back when"
                    " programs need them.",
                    "bytes",
                    Q(f"sum({TOTAL} - {FREE} - {BUFFERS} - ({CACHE}))", "used"),
                    Q(f"sum({CACHE})", "cache"),
                    Q(f"sum({BUFFERS})", "buffers"),
                    Q(f"sum({FREE})", "free"),
                    width=8,
                    stack=True,
                    links=(runbook("HighMemoryUsage"),),
                ),
                graph(
                    "Swap",
                    "Swap in use and its size.",
                    "bytes",
                    Q(f"sum(node_memory_SwapTotal_bytes{{{SEL}}}) - sum(node_memory_SwapFree_bytes{{{SEL}}})", "used"),
                    Q(f"sum(node_memory_SwapTotal_bytes{{{SEL}}})", "size"),
                    width=8,
                ),
                graph(
                    "Major page faults",
                    "Pages read from disk per second, because memory did not hold them. Many mean thrashing.",
                    "ops",
                    Q(f"sum(rate(node_vmstat_pgmajfault{{{SEL}}}{R}))", "major faults"),
                    width=8,
                ),
            ],
        ),
        (
            "Disks",
            [
                bars(
                    "Used",
                    f"Share used of each file system. {FULL_TEXT}",
                    "percentunit",
                    Q(f"max by (mountpoint) ({DISK})", "{{mountpoint}}"),
                    high=1,
                    steps=FULL_DISK,
                    links=(runbook("HighDiskUsage"),),
                ),
                graph(
                    "Free in 24 hours",
                    "Free space of each file system as the last 6 hours predict it; below 0 it will be full by then.",
                    "bytes",
                    Q(
                        f"min by (mountpoint) (predict_linear(node_filesystem_avail_bytes{{{PLACES}}}[6h], 86400))",
                        "{{mountpoint}}",
                    ),
                    width=8,
                    low=None,
                    steps=((None, "red"), (0, "green")),
                    links=(runbook("HostDiskWillFill"),),
                ),
                bars(
                    "Inodes used",
                    "Share used of the inodes of each file system.",
                    "percentunit",
                    Q(
                        "max by (mountpoint)"
                        f" (1 - node_filesystem_files_free{{{PLACES}}} / (node_filesystem_files{{{PLACES}}} > 0))",
                        "{{mountpoint}}",
                    ),
                    high=1,
                    steps=NEARLY,
                ),
                graph(
                    "Disk traffic",
                    "Bytes read and written per second, by device.",
                    "Bps",
                    Q(f"sum by (device) (rate(node_disk_read_bytes_total{{{DEVICES}}}{R}))", "{{device}} read"),
                    Q(f"sum by (device) (rate(node_disk_written_bytes_total{{{DEVICES}}}{R}))", "{{device}} written"),
                    width=8,
                ),
                graph(
                    "Disk busy",
                    "Share of time in which a device had work.",
                    "percentunit",
                    Q(f"max by (device) (rate(node_disk_io_time_seconds_total{{{DEVICES}}}{R}))", "{{device}}"),
                    width=8,
                    steps=rising(0.7, 0.9),
                ),
                graph(
                    "Disk answers",
                    "Mean time of a write, by device.",
                    "s",
                    Q(
                        f"sum by (device) (rate(node_disk_write_time_seconds_total{{{DEVICES}}}{R}))"
                        f" / (sum by (device) (rate(node_disk_writes_completed_total{{{DEVICES}}}{R})) > 0)",
                        "{{device}}",
                    ),
                    width=8,
                ),
            ],
        ),
        (
            "Network",
            [
                graph(
                    "Network traffic",
                    "Bits per second received and sent, by network card of the host.",
                    "bps",
                    Q(f"8 * sum by (device) (rate(node_network_receive_bytes_total{{{CARDS}}}{R}))", "{{device}} in"),
                    Q(f"8 * sum by (device) (rate(node_network_transmit_bytes_total{{{CARDS}}}{R}))", "{{device}} out"),
                    width=8,
                ),
                graph(
                    "Network errors",
                    "Packets per second that were damaged or dropped.",
                    "pps",
                    Q(
                        f"sum by (device) (rate(node_network_receive_errs_total{{{CARDS}}}{R}))",
                        "{{device}} damaged in",
                    ),
                    Q(
                        f"sum by (device) (rate(node_network_transmit_errs_total{{{CARDS}}}{R}))",
                        "{{device}} damaged out",
                    ),
                    Q(
                        f"sum by (device) (rate(node_network_receive_drop_total{{{CARDS}}}{R}))",
                        "{{device}} dropped in",
                    ),
                    width=8,
                ),
                graph(
                    "Sockets",
                    "TCP sockets in use, waiting for their end, and orphaned.",
                    "short",
                    Q(f"sum(node_sockstat_TCP_inuse{{{SEL}}})", "in use"),
                    Q(f"sum(node_sockstat_TCP_tw{{{SEL}}})", "time wait"),
                    Q(f"sum(node_sockstat_TCP_orphan{{{SEL}}})", "orphaned"),
                    width=8,
                ),
            ],
        ),
        (
            "Limits and clock",
            [
                stat(
                    "Open files",
                    "Share of the kernel's open files in use.",
                    "percentunit",
                    Q(f"max(node_filefd_allocated{{{SEL}}} / node_filefd_maximum{{{SEL}}})"),
                    width=6,
                    steps=NEARLY,
                    decimals=2,
                ),
                stat(
                    "Tracked connections",
                    "Share of the firewall's table of connections in use.",
                    "percentunit",
                    Q(f"max(node_nf_conntrack_entries{{{SEL}}} / node_nf_conntrack_entries_limit{{{SEL}}})"),
                    width=6,
                    steps=NEARLY,
                    decimals=2,
                ),
                stat(
                    "Clock",
                    "Whether the clock is kept in step with a time server.",
                    "none",
                    Q(f"min(node_timex_sync_status{{{SEL}}})"),
                    width=6,
                    names={"1": ("in step", "green"), "0": ("free running", "red")},
                    links=(runbook("HostClockSkew"),),
                ),
                stat(
                    "Clock offset",
                    "How far the clock is from the time server's.",
                    "s",
                    Q(f"max(abs(node_timex_offset_seconds{{{SEL}}}))"),
                    width=6,
                    steps=rising(default("node_exporter_alert_clock_offset_seconds")),
                    links=(runbook("HostClockSkew"),),
                ),
            ],
        ),
    ],
)
