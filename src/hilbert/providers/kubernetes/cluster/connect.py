"""Finding the cluster, and the credentials for it, with lightkube's configuration."""

from __future__ import annotations

from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from hilbert.core.errors import InvalidSettings
from hilbert.core.settings import KubernetesSettings
from hilbert.kit.aio import Clock
from hilbert.providers.kubernetes.cluster.api import Api


def connect(settings: KubernetesSettings, *, clock: Clock | None = None) -> Api:
    """Find the cluster. Raises `InvalidSettings`; makes no request yet."""
    try:
        config = KubeConfig.from_file(settings.kubeconfig) if settings.kubeconfig else KubeConfig.from_env()
        single = config.get(settings.context or None)
        if single is None:
            raise InvalidSettings("kubernetes.kubeconfig: sets no current context")
        if single.user is None:
            single = single._replace(user=User())
        return Api(single, clock=clock)
    except (ConfigError, KeyError, TypeError, OSError, ValueError) as exc:
        raise InvalidSettings(
            f"kubernetes.kubeconfig: {exc}",
            hint="inside a cluster, the service account is used; elsewhere, set KUBECONFIG or kubernetes.kubeconfig",
        ) from exc
