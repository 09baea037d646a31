"""The page at ``/``: one self-contained document, assembled from its source files; it loads nothing from elsewhere."""

from functools import lru_cache
from importlib.resources import files
from secrets import token_urlsafe

POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data: blob:; media-src data: blob:; style-src 'nonce-{nonce}'; "
    "script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page() -> tuple[str, str]:
    """The document and its content security policy, which lets nothing run but the document's own script."""
    nonce = token_urlsafe(16)
    return _assembled().replace("{{nonce}}", nonce), POLICY.format(nonce=nonce)


@lru_cache(maxsize=1)
def _assembled() -> str:
    html, style, script = (_text(name) for name in ("page.html", "style.css", "script.js"))
    return html.replace("{{style}}", style).replace("{{script}}", script)


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
