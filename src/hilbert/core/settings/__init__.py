"""Settings: one frozen struct for each section, in files by subject, and one loader."""

from hilbert.core.settings.calls import QueueSettings, ScalingSettings
from hilbert.core.settings.gateway import GatewaySettings
from hilbert.core.settings.host import DefaultLimitSettings, ImageSettings, ProcessSettings, TenancySettings
from hilbert.core.settings.kubernetes import KubernetesSettings
from hilbert.core.settings.loader import ALIASES, Loaded, known_settings, load
from hilbert.core.settings.platform import (
    AuditSettings,
    IamSettings,
    LogSettings,
    PathSettings,
    ProviderSettings,
    UsageSettings,
)
from hilbert.core.settings.sections import Settings

__all__ = [
    "ALIASES",
    "AuditSettings",
    "DefaultLimitSettings",
    "GatewaySettings",
    "IamSettings",
    "ImageSettings",
    "KubernetesSettings",
    "Loaded",
    "LogSettings",
    "PathSettings",
    "ProcessSettings",
    "ProviderSettings",
    "QueueSettings",
    "ScalingSettings",
    "Settings",
    "TenancySettings",
    "UsageSettings",
    "known_settings",
    "load",
]
