"""A strict double of a Kubernetes API server and its controllers, for tests. README.md says what it promises.

These names are its whole interface; everything else is its own business, and a test in `tests/` holds us to it.
"""

from __future__ import annotations

from kubernetes_double.chaos import Chaos, Fault
from kubernetes_double.checks.access import ADMIN
from kubernetes_double.checks.rbac import User
from kubernetes_double.controllers import scripts
from kubernetes_double.controllers.pace import Pace
from kubernetes_double.controllers.scripts import Outcome, Process
from kubernetes_double.server import ApiServer
from kubernetes_double.serving.status import Json

__all__ = ["ADMIN", "ApiServer", "Chaos", "Fault", "Json", "Outcome", "Pace", "Process", "User", "scripts"]
