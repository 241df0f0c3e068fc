"""Debian's Prometheus and AlertManager on loopback, set up as OpenFaaS's installation has them, with shorter times."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.platform import Platform, until
from support.ports import held_port

_PROGRAMS = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
}
"""And the packages that bring them."""


def missing() -> str:
    """Why there is none here; empty: there is one."""
    absent = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    return f"needs Debian's {' and '.join(absent)}" if absent else ""


RULES: dict[str, Any] = {
    "groups": [
        {
            "name": "load",
            "interval": "1s",
            "rules": [
                {
                    # The one alert of OpenFaaS's community edition.
                    "alert": "APIHighInvocationRate",
                    "expr": 'sum(rate(gateway_function_invocation_total{code="200"}[10s])) by (function_name) > 5',
                    "for": "5s",
                    "labels": {"service": "gateway", "severity": "major"},
                    "annotations": {"summary": "High invocation total on {{ $labels.function_name }}"},
                },
                {
                    # A load of an administrator's own, in the form that OpenFaaS's autoscaler reads.
                    "record": "job:function_current_load:sum",
                    "labels": {"scaling_type": "calls"},
                    "expr": "sum by (function_name) (rate(gateway_function_invocation_total[10s])) and on (function_name)"
                    ' avg by (function_name) (gateway_service_target_load{scaling_type="calls"}) > bool 1',
                },
            ],
        }
    ]
}


class Prometheus:
    """Its address is known before it runs, so that a platform can be told."""

    def __init__(self, folder: Path, port: int, alerts: int) -> None:
        self._folder = folder
        self._port = port
        self._alerts = alerts
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def watch(self, platform: Platform) -> None:
        """Start it, to read that platform's metrics; and AlertManager, to post alerts to it with its password."""
        if self._alerts:
            self._start_alertmanager(platform)
        target = urllib.parse.urlsplit(str(platform.facts["metrics_url"])).netloc
        config: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self._folder / "rules.json")],
            "scrape_configs": [{"job_name": "gateway", "static_configs": [{"targets": [target]}]}],
        }
        if self._alerts:
            config["alerting"] = {
                "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{self._alerts}"]}]}],
            }
        self._write("rules.json", RULES)
        self._run(
            "prometheus",
            f"--config.file={self._write('prometheus.json', config)}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        )
        self._wait(f"{self.url}/-/ready")

    def value(self, query: str) -> float | None:
        """Of the one series that `query` finds; None if there is none."""
        address = f"{self.url}/api/v1/query?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            found = json.load(answer)["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    def _start_alertmanager(self, platform: Platform) -> None:
        webhook = {
            "url": f"{platform.url}/system/alert",
            "send_resolved": True,
            "http_config": {"basic_auth": {"username": "admin", "password": platform.password}},
        }
        config = {
            "route": {
                "receiver": "scale-up",
                "group_by": ["alertname", "cluster", "service"],
                "group_wait": "1s",
                "group_interval": "2s",
                "repeat_interval": "30s",
            },
            "receivers": [{"name": "scale-up", "webhook_configs": [webhook]}],
        }
        self._run(
            "prometheus-alertmanager",
            f"--config.file={self._write('alertmanager.json', config)}",
            f"--storage.path={self._folder / 'alerts'}",
            f"--web.listen-address=127.0.0.1:{self._alerts}",
            "--cluster.listen-address=",
        )
        self._wait(f"http://127.0.0.1:{self._alerts}/-/ready")

    def _write(self, name: str, content: object) -> Path:
        """YAML, of which JSON is a part."""
        path = self._folder / name
        path.write_text(json.dumps(content))
        return path

    def _run(self, *command: str) -> None:
        with (self._folder / "log").open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def _wait(self, url: str) -> None:
        def answers() -> bool:
            assert self._processes[-1].poll() is None, self.log
            try:
                with urllib.request.urlopen(url, timeout=5):
                    return True
            except OSError:
                return False

        until(answers, within=60, what=url, log=lambda: self.log)

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def stop(self) -> None:
        """End what was started; absence is success."""
        while self._processes:
            process = self._processes.pop()
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def prometheus(*, alertmanager: bool = True) -> Iterator[Prometheus]:
    """One that has a place, and is to be started for a platform: `watch`. With `alertmanager`, it has one beside it."""
    folder = Path(tempfile.mkdtemp(prefix="hb-prometheus-"))
    with held_port() as port, held_port() as alerts:
        standing = Prometheus(folder, port, alerts if alertmanager else 0)
        try:
            yield standing
        finally:
            standing.stop()
            shutil.rmtree(folder, ignore_errors=True)
