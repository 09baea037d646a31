"""Quantities and names as Kubernetes writes them: types of configuration fields that say what is wrong with a value."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

NO_LIMIT = "none"
UNITS = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18} | {
    f"{prefix}i": 1024.0 ** (power + 1) for power, prefix in enumerate("KMGTPE")
}
CPU = re.compile(r"^(\d+(?:\.\d+)?|\d+m)$")
MEMORY = re.compile(r"^(\d+)(Ki|Mi|Gi|Ti|Pi|Ei|M|G|T|P|E|)$")
DNS_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
LABEL_KEY = re.compile(r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
RESERVED = ("OMNIVEC_HOME", "OMNIVEC_RUN_ID")


def cores(quantity: str) -> float:
    """Processors of a quantity such as ``2``, ``0.5`` or ``500m``."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def octets(quantity: str) -> float:
    """Bytes of a quantity such as ``8Gi`` or ``500M``; a cluster itself may also answer in thousandths (``m``)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", quantity)
    if found is None or found[2] not in UNITS:
        raise ValueError(f"{quantity!r} is no quantity of memory")
    return float(found[1]) * UNITS[found[2]]


def _cpu(value: str) -> str:
    if not CPU.match(value) or not cores(value):
        raise ValueError(f"{value!r} is no number of processors: give 2, 0.5 or 500m")
    return value


def _memory(value: str) -> str:
    if not MEMORY.match(value) or not octets(value):
        raise ValueError(f"{value!r} is no quantity of memory: give whole Ki, Mi, Gi, Ti or M, G, T, such as 8Gi")
    return value


def _limit(value: str, check: Any) -> str:
    return value if value == NO_LIMIT else str(check(value))


def _name(value: str) -> str:
    if not DNS_NAME.match(value):
        raise ValueError(f"{value!r} is no name of a Kubernetes object: small letters, digits, '-' and '.'")
    return value


def _variable(value: str) -> str:
    if not VARIABLE.match(value) or value in RESERVED:
        raise ValueError(f"{value!r} is no variable that may be set; {' and '.join(RESERVED)} are Omnivec's own")
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    wrong = [key for key in value if not LABEL_KEY.match(key)]
    wrong += [f"{key}={text}" for key, text in value.items() if not LABEL_VALUE.match(text)]
    if wrong:
        raise ValueError(f"no labels of Kubernetes: {', '.join(wrong)} (letters, digits, '-', '_', '.'; 63 at most)")
    return value


def _text(value: Any) -> Any:
    """YAML reads ``cpu: 8`` as a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Cpu = Annotated[str, BeforeValidator(_text), AfterValidator(_cpu)]
Memory = Annotated[str, BeforeValidator(_text), AfterValidator(_memory)]
CpuLimit = Annotated[str, BeforeValidator(_text), AfterValidator(lambda value: _limit(value, _cpu))]
MemoryLimit = Annotated[str, BeforeValidator(_text), AfterValidator(lambda value: _limit(value, _memory))]
Name = Annotated[str, AfterValidator(_name)]
Variable = Annotated[str, AfterValidator(_variable)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
