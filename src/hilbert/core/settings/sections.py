"""All settings: a frozen struct for each section."""

from __future__ import annotations

import msgspec

from hilbert.core.settings.calls import QueueSettings, ScalingSettings
from hilbert.core.settings.gateway import GatewaySettings
from hilbert.core.settings.host import DefaultLimitSettings, ImageSettings, ProcessSettings, TenancySettings
from hilbert.core.settings.kubernetes import KubernetesSettings
from hilbert.core.settings.platform import (
    AuditSettings,
    IamSettings,
    LogSettings,
    PathSettings,
    ProviderSettings,
    UsageSettings,
)
from hilbert.core.values import NamespaceName, parse_namespace_name


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings."""

    gateway: GatewaySettings = GatewaySettings()
    provider: ProviderSettings = ProviderSettings()
    queue: QueueSettings = QueueSettings()
    scaling: ScalingSettings = ScalingSettings()
    process: ProcessSettings = ProcessSettings()
    default_limits: DefaultLimitSettings = DefaultLimitSettings()
    tenancy: TenancySettings = TenancySettings()
    images: ImageSettings = ImageSettings()
    iam: IamSettings = IamSettings()
    audit: AuditSettings = AuditSettings()
    usage: UsageSettings = UsageSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    log: LogSettings = LogSettings()
    paths: PathSettings = PathSettings()

    @property
    def default_namespace(self) -> NamespaceName:
        return parse_namespace_name(self.provider.default_namespace)
