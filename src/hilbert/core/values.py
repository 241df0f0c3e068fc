"""Values that come from outside, each parsed once and printed once.

After one of the `parse_*` functions, a name is safe in a path, a header, a cgroup or a Kubernetes object:
it holds only `a-z`, `0-9`, `-` (and `.` in a secret's name), never starts with `.` or `-`, and is short.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Final, NewType

import msgspec

from hilbert.core.errors import Invalid, InvalidName
from hilbert.kit.durations import UNITS, parse_nanoseconds

FunctionName = NewType("FunctionName", str)
NamespaceName = NewType("NamespaceName", str)
SecretName = NewType("SecretName", str)

DEFAULT_NAMESPACE: Final = NamespaceName("openfaas-fn")

RESERVED_NAMESPACES: Final = frozenset({"kube-system", "kube-public", "kube-node-lease", "openfaas", "hilbert"})
"""Namespaces of the cluster and of the platform: never a tenant, whatever they are labelled."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


def parse_function_name(text: str) -> FunctionName:
    """A DNS label of at most 63 characters (RFC 1123). Raises `InvalidName`."""
    if len(text) > 63 or not _LABEL.fullmatch(text):
        raise InvalidName(f"validation failed: service: ({_shown(text)}) is invalid, must be a valid DNS entry")
    return FunctionName(text)


def parse_namespace_name(text: str) -> NamespaceName:
    """A DNS label of at most 63 characters (RFC 1123). Says nothing of existence. Raises `InvalidName`."""
    if len(text) > 63 or not _LABEL.fullmatch(text):
        raise InvalidName(
            f"namespace ({_shown(text)}) is invalid, must be a DNS label: a-z, 0-9 and dashes, at most 63 characters"
        )
    return NamespaceName(text)


def parse_secret_name(text: str) -> SecretName:
    """A DNS subdomain of at most 253 characters (RFC 1123). Raises `InvalidName`."""
    if len(text) > 253 or not _SUBDOMAIN.fullmatch(text):
        raise InvalidName(
            f"secret name ({_shown(text)}) is invalid, must be a DNS subdomain: a-z, 0-9, dashes and dots"
        )
    return SecretName(text)


def parse_label(key: str, value: str) -> tuple[str, str]:
    """A label in Kubernetes' syntax, so that a function deploys alike on every provider. Raises `Invalid`."""
    _check_qualified("label", key)
    if len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
        raise Invalid(
            f"label {_shown(key)}: value ({_shown(value)}) is invalid, "
            "must be at most 63 characters of a-z, A-Z, 0-9, '-', '_' and '.', alphanumeric at both ends"
        )
    return key, value


def parse_annotation(key: str, value: str) -> tuple[str, str]:
    """An annotation: a Kubernetes qualified key and any text without NUL. Raises `Invalid`."""
    _check_qualified("annotation", key)
    if "\0" in value:
        raise Invalid(f"annotation {_shown(key)}: value contains a NUL character")
    return key, value


def parse_env(key: str, value: str) -> tuple[str, str]:
    """An environment variable in Kubernetes' syntax. Raises `Invalid`."""
    if len(key) > 253 or not _ENV_NAME.fullmatch(key):
        raise Invalid(f"environment variable ({_shown(key)}) is invalid, must be letters, digits, '_', '-' and '.'")
    if "\0" in value:
        raise Invalid(f"environment variable {key}: value contains a NUL character")
    return key, value


def _check_qualified(kind: str, key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if (slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix))) or not (
        len(name) <= 63 and _QUALIFIED.fullmatch(name)
    ):
        raise Invalid(f"{kind} key ({_shown(key)}) is invalid, must be [prefix/]name in Kubernetes' syntax")


def _shown(text: str) -> str:
    """`text` made safe for an error message: printable ASCII, at most 80 characters."""
    printable = text.encode("ascii", "backslashreplace").decode("ascii")
    printable = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in printable)
    return printable if len(printable) <= 80 else printable[:77] + "..."


MOST_WHOLE: Final = 2**63 - 1
_TRUE: Final = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE: Final = frozenset({"0", "f", "false", "n", "no", "off"})


def parse_whole(text: str, *, least: int = 0, most: int = MOST_WHOLE) -> int:
    """A whole number in decimal digits, from `least` (not below 0) to `most`. Raises `Invalid`."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else -1
    if not least <= number <= most:
        bounds = f" from {least} to {most}" if most < MOST_WHOLE else f" of at least {least}" if least else ""
        raise Invalid(f"({_shown(text)}) is not a whole number{bounds}")
    return number


def whole_or(text: str | None, default: int, *, least: int = 0, most: int = MOST_WHOLE) -> int:
    """As `parse_whole`, with `default` for whatever is missing or wrong, as OpenFaaS reads labels and environment."""
    if text is None:
        return default
    try:
        return parse_whole(text, least=least, most=most)
    except Invalid:
        return default


def parse_boolean(text: str) -> bool:
    """True or false in any of the usual words (`true`, `yes`, `on`, `1`, ...), in any case. Raises `Invalid`."""
    word = text.lower()
    if word not in _TRUE and word not in _FALSE:
        raise Invalid(f"({_shown(text)}) is neither true nor false")
    return word in _TRUE


class FunctionRef(msgspec.Struct, frozen=True, order=True):
    """A function's full name: namespace and name."""

    namespace: NamespaceName
    name: FunctionName

    def __str__(self) -> str:
        return f"{self.name}.{self.namespace}"

    @classmethod
    def parse(cls, text: str, *, default: NamespaceName = DEFAULT_NAMESPACE) -> FunctionRef:
        """Parse `NAME` or `NAME.NAMESPACE`, split at the last dot as OpenFaaS does. Raises `InvalidName`."""
        name, dot, namespace = text.rpartition(".")
        if not dot:
            return cls(namespace=default, name=parse_function_name(text))
        return cls(namespace=parse_namespace_name(namespace), name=parse_function_name(name))


_MAX_NS: Final = 2**63 - 1


class Duration(msgspec.Struct, frozen=True, order=True):
    """A length of time, in whole nanoseconds, written as Go writes it: `1m30s`, `250ms`, `1.5h`."""

    ns: int

    @property
    def seconds(self) -> float:
        return self.ns / 1e9

    @classmethod
    def of(cls, seconds: float) -> Duration:
        return cls(round(seconds * 1e9))

    @classmethod
    def parse(cls, text: str, *, bare_seconds: bool = False) -> Duration:
        """Parse Go's duration text (`time.ParseDuration`), never negative.

        With `bare_seconds`, a plain integer means seconds, as in OpenFaaS's environment. Raises `Invalid`.
        """
        if text == "0":
            return cls(0)
        if bare_seconds and text.isascii() and text.isdigit():
            return cls._checked(parse_whole(text) * 1_000_000_000, text)
        nanoseconds = parse_nanoseconds(text)
        if nanoseconds is None:
            raise Invalid(f"({_shown(text)}) is not a duration; write it like 250ms, 10s or 1m30s")
        return cls._checked(nanoseconds, text)

    @classmethod
    def _checked(cls, ns: int, text: str) -> Duration:
        if ns > _MAX_NS:
            raise Invalid(f"duration ({_shown(text)}) is too long; the most is 292 years")
        return cls(ns)

    def __str__(self) -> str:
        if self.ns == 0:
            return "0s"
        if self.ns < 1_000_000_000:
            for unit in ("ms", "us", "ns"):
                if self.ns >= UNITS[unit]:
                    return _decimal(self.ns, UNITS[unit]) + unit.replace("us", "µs")
        hours, rest = divmod(self.ns, UNITS["h"])
        minutes, rest = divmod(rest, UNITS["m"])
        head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
        return f"{head}{_decimal(rest, UNITS['s'])}s"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    if not rest:
        return str(whole)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"


_SUFFIXES: Final = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][+-]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i)?)")


class Quantity(msgspec.Struct, frozen=True):
    """An amount in Kubernetes' text (`128Mi`, `0.5`, `100m`, `1e3`), never negative.

    `text` is what was given and what is printed again; compare by `amount`.
    """

    text: str
    amount: Decimal

    @classmethod
    def parse(cls, text: str) -> Quantity:
        """Raises `Invalid`."""
        match = _QUANTITY.fullmatch(text) if len(text) <= 40 else None
        if match is None:
            raise Invalid(f"({_shown(text)}) is not a quantity; write it like 128Mi, 1Gi, 100m or 0.5")
        number, exponent, suffix = match.groups()
        try:
            amount = Decimal(number) * (Decimal(f"1{exponent}") if exponent else _SUFFIXES[suffix or ""])
        except InvalidOperation as exc:
            raise Invalid(f"({_shown(text)}) is not a quantity") from exc
        if amount >= Decimal(2) ** 63:
            raise Invalid(f"quantity ({_shown(text)}) is too large")
        return cls(text=text, amount=amount)

    @property
    def units(self) -> int:
        """Whole units, rounded up: bytes for memory."""
        return int(self.amount.to_integral_value(ROUND_CEILING))

    @property
    def millis(self) -> int:
        """Thousandths, rounded up: milli-CPU for cpu."""
        return int((self.amount * 1000).to_integral_value(ROUND_CEILING))

    def __str__(self) -> str:
        return self.text
