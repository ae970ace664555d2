"""What has to be known about the machine to judge the figures."""

from __future__ import annotations

import os
import platform
import ssl
from pathlib import Path


def machine() -> dict[str, str]:
    """Processor, memory, kernel, libraries and load."""
    return {
        "processor": f"{os.cpu_count()} x {_field('/proc/cpuinfo', 'model name')}",
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "generator": f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
