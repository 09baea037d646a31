"""Identity of the code that a step runs: part of local cache keys and of checkpoint names."""

import hashlib
from pathlib import Path

SHARED = ("model", "data")
LOCK = "requirements.lock"


def checkout() -> Path:
    """Directory that holds our packages: the checkout, or site-packages in an image."""
    return Path(__file__).resolve().parent.parent


def source_digest(component: str, root: Path | None = None) -> str:
    """First 16 hex digits of the SHA-256 of the sources that a component's work depends on.

    These are ``model``, ``data``, the shared modules of ``components``, the component's own folder, and the lock of
    third-party versions. Serving and pipeline code are left out, so that changing them does not retrain.
    """
    root = root or checkout()
    files = [file for package in SHARED for file in (root / package).rglob("*.py")]
    files += (root / "components").glob("*.py")
    files += (root / "components" / component).rglob("*.py")
    files += [root / LOCK] if (root / LOCK).is_file() else []
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(f"{file.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:16]
