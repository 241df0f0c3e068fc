"""What was called otherwise when it was recorded: uids, versions, tokens, generated names, addresses."""

from __future__ import annotations

import re
from typing import Any, Final

UID: Final = re.compile(r"00000000-0000-4000-8000-\d{12}")
_OURS: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_ADDRESS: Final = re.compile(
    r"\b(?:192\.0\.2|198\.51\.100|203\.0\.113|127\.\d+\.\d+|10\.\d+\.\d+)\.\d+(?::6443|:\d{5})?\b"
)
_ACCESS: Final = re.compile(r"kube-api-access-[a-z0-9]{5}")
_VERSION: Final = re.compile(r"(resource ?version:? ?|precondition \(|record \(|current: |\()(\d+)", re.IGNORECASE)
_YAML_VERSION: Final = re.compile(r'resourceVersion(\\*"?: ?\\*")\d+')
_AGE: Final = re.compile(r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$")
_CONTAINER: Final = re.compile(r"containerd://[0-9a-f]{64}")
_DIGEST: Final = re.compile(r"[^\s\"]*@?sha256:[0-9a-f]{64}")
_GENERATED: Final = re.compile(
    r"\b[a-z0-9]+-[bcdfghjklmnpqrstvwxz2456789]{5,10}(?:-[bcdfghjklmnpqrstvwxz2456789]{5})?\b"
)
_EVENT: Final = re.compile(r"\.[0-9a-f]{16}$")
_LITERAL: Final = frozenset({"", "0", "1", "999999999", "abc"})


class Names:
    """Recorded values and ours, learnt from answers, used in requests."""

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}
        self._versions: dict[int, int] = {}
        self._words: dict[str, str] = {}

    def copy(self) -> Names:
        other = Names()
        other._ours, other._versions, other._words = dict(self._ours), dict(self._versions), dict(self._words)
        return other

    def learn(self, recorded: Any, actual: Any, key: str = "") -> None:
        """Walk both side by side."""
        if isinstance(recorded, dict) and isinstance(actual, dict):
            for name, value in recorded.items():
                if name in actual:
                    self.learn(value, actual[name], name)
        elif isinstance(recorded, list) and isinstance(actual, list):
            for left, right in zip(recorded, actual, strict=False):
                self.learn(left, right, key)
        elif isinstance(recorded, str) and isinstance(actual, str):
            self._leaf(recorded, actual, key)

    def _leaf(self, recorded: str, actual: str, key: str) -> None:
        if key == "resourceVersion" and recorded.isdigit() and actual.isdigit():
            self._versions.setdefault(int(recorded), int(actual))
        elif (UID.fullmatch(recorded) and _OURS.fullmatch(actual)) or (
            recorded.startswith("continue-token-") and key == "continue"
        ):
            self._ours.setdefault(recorded, actual)
        elif key == "pod-template-hash" or (key == "name" and _GENERATED.search(recorded)):
            self.rename(recorded, actual)
        elif key in ("message", "targetRef"):
            for left, right in zip(_GENERATED.findall(recorded), _GENERATED.findall(actual), strict=False):
                if left.partition("-")[0] == right.partition("-")[0]:
                    self.rename(left, right)

    def rename(self, recorded: str, actual: str) -> None:
        """A generated name, or the hash of a template."""
        if recorded not in self._words and recorded != actual:
            self._words[recorded] = actual

    def word(self, recorded: str) -> str:
        return self._words.get(recorded, recorded)

    def version(self, recorded: str) -> str:
        """Ours for a recorded version; for one that was never seen, that of the nearest before it."""
        if recorded in _LITERAL or not recorded.isdigit():
            return recorded
        number = int(recorded)
        if number in self._versions:
            return str(self._versions[number])
        known = [n for n in self._versions if n <= number]
        return str(self._versions[max(known)]) if known else recorded

    def text(self, recorded: str) -> str:
        """A recorded text with our names in it."""
        for theirs in sorted(self._words, key=len, reverse=True):
            if theirs in recorded:
                recorded = recorded.replace(theirs, self._words[theirs])
        recorded = UID.sub(lambda match: self._ours.get(match.group(), match.group()), recorded)
        return self._ours.get(recorded, recorded)

    def request(self, value: Any, key: str = "") -> Any:
        """A recorded request, as it must be sent to us."""
        if isinstance(value, dict):
            if value.get("path") == "/metadata/resourceVersion" and "value" in value:
                return {**value, "value": self.version(value["value"])}
            return {name: self.request(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.request(inner, key) for inner in value]
        if isinstance(value, str):
            return self.version(value) if key == "resourceVersion" else self.text(value)
        return value


def plain(text: str) -> str:
    """A text without what differs from run to run."""
    text = _TIME.sub("TIME", text)
    text = _CONTAINER.sub("CONTAINER", text)
    text = _DIGEST.sub("DIGEST", text)
    text = _ADDRESS.sub("ADDRESS", text)
    text = _ACCESS.sub("kube-api-access", text)
    text = _OURS.sub("UID", text)
    text = _EVENT.sub(".EVENT", text)
    text = _YAML_VERSION.sub("resourceVersion: VERSION", text)
    if text and _AGE.match(text):
        return "AGE"
    return _VERSION.sub(lambda match: f"{match.group(1)}VERSION", text)
