"""Errors of the HTTP surface: their envelopes, and the mapping from typed errors to status codes.

Routes of Gemini's API answer in Google's envelope, all others in OpenAI's.

==== ==========================================================================
400  the request is not what the schema says, or asks for an impossible option
401  a key is needed, or not known
403  the key has no scope for this
404  the model is not the one that is served
409  the caller names a vector space that is not served any more
413  a limit is exceeded; ``limit`` names it
415  the kind or format of a part is not supported by the loaded model
422  the part has a supported format but cannot be decoded or embedded
429  the queue is full; ``Retry-After`` says when to come back
500  our fault; the log has the request id
503  not ready: loading, or shutting down
504  the request's time is over
==== ==========================================================================
"""

from typing import Any

from model.errors import CapabilityError, ConfigError, ContentError, OmnivecError

MALFORMED_CODES = frozenset({"malformed_part", "empty_content", "empty_text", "unknown_task", "remote_url_refused"})
UNSUPPORTED_CODES = frozenset({"unsupported_media_type", "unsupported_format", "unsupported_modality"})
GOOGLE_PREFIX, GOOGLE_METHODS = "/v1beta/", (":embedContent", ":batchEmbedContents")
GOOGLE_STATUS = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class LaunchError(OmnivecError, RuntimeError):
    """The service could not be started or did not become ready."""


class RequestError(OmnivecError):
    """An answer other than 200.

    Attributes:
        status: HTTP status code.
        code: stable machine-readable reason.
        param: path of the request field that is wrong, such as ``input.3``.
        item: index of the offending item of ``input``.
        limit: name of the exceeded limit.
        headers: extra response headers.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        param: str | None = None,
        item: int | None = None,
        limit: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.code = message, status, code
        self.param, self.item, self.limit = param, item, limit
        self.headers = headers or {}

    def body(self, request_id: str, path: str = "") -> dict[str, Any]:
        """The envelope that clients of ``path`` understand."""
        is_google = path.startswith(GOOGLE_PREFIX) or path.endswith(GOOGLE_METHODS)
        return self._google(request_id) if is_google else self._openai(request_id)

    def _google(self, request_id: str) -> dict[str, Any]:
        """Google's ``Status``, with what OpenAI's envelope has no word for as ``ErrorInfo``."""
        facts = {"param": self.param, "item": self.item, "limit": self.limit, "request_id": request_id}
        return {
            "error": {
                "code": self.status,
                "message": self.message,
                "status": GOOGLE_STATUS.get(self.status, "INVALID_ARGUMENT"),
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": self.code.upper(),
                        "domain": "omnivec",
                        "metadata": {name: str(value) for name, value in facts.items() if value is not None},
                    }
                ],
            }
        }

    def _openai(self, request_id: str) -> dict[str, Any]:
        """OpenAI's envelope, with the offending item, the limit and the request id beside it."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
                "item": self.item,
                "limit": self.limit,
                "request_id": request_id,
            }
        }


def body_too_large(limit: int) -> RequestError:
    """413 of the whole body."""
    return RequestError(
        f"the request body has more than {limit} bytes", status=413, code="body_too_large", limit="body_bytes"
    )


def from_exception(error: Exception, item: int | None = None) -> RequestError:
    """Map any exception to an answer. Only errors raised on purpose show their message to the caller."""
    if isinstance(error, RequestError):
        return error
    status, code, limit, message = _classify(error)
    return RequestError(
        message if item is None else f"item {item}: {message}",
        status=status,
        code=code,
        limit=limit,
        item=item,
        param=None if item is None else f"input.{item}",
    )


def _classify(error: Exception) -> tuple[int, str, str | None, str]:
    """Status, code, limit and message of an exception."""
    if isinstance(error, ContentError):
        return _content_status(error), error.code, error.limit, str(error)
    if isinstance(error, CapabilityError):
        return 415, "unsupported_modality", None, str(error)
    if isinstance(error, ConfigError):
        return 400, "invalid_option", None, str(error)
    if isinstance(error, TimeoutError):
        return 504, "timeout", "timeout_seconds", "the request took longer than its time limit"
    return 500, "internal_error", None, "internal error; quote the request id to the operator"


def _content_status(error: ContentError) -> int:
    if error.limit is not None:
        return 413
    if error.code in UNSUPPORTED_CODES or error.code.endswith("_unsupported"):
        return 415
    return 400 if error.code in MALFORMED_CODES else 422
