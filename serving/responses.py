"""JSON answers and the handlers that turn exceptions into errors that the clients of a route understand."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serving.errors import RequestError, from_exception

NOT_JSON = RequestError(
    "send the body as JSON with the header Content-Type: application/json", status=415, code="unsupported_content_type"
)


class Refused(HTTPException):
    """An answer given while a body is read; frameworks let this kind of exception through, and no other."""

    def __init__(self, error: RequestError) -> None:
        super().__init__(error.status, error.message, error.headers)
        self.error = error


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON with numpy support: float32 is written in its shortest exact form."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status_code=status, media_type="application/json", headers=dict(headers or {}))


def error_response(error: RequestError, request_id: str, path: str) -> Response:
    """The answer for an error of a request to ``path``."""
    return json_response(error.body(request_id, path), error.status, error.headers)


def install_handlers(app: FastAPI) -> None:
    """Give every error of the app its envelope."""

    def answer(error: RequestError, request: Request) -> Response:
        request.state.notes.update(error=error.code, limit=error.limit)
        return error_response(error, request.state.request_id, request.url.path)

    async def on_error(request: Request, error: Exception) -> Response:
        return answer(from_exception(error), request)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        if request.method == "POST" and "json" not in request.headers.get("content-type", ""):
            return answer(NOT_JSON, request)
        return answer(_from_validation(error), request)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(error.error if isinstance(error, Refused) else _from_http(error), request)

    app.add_exception_handler(RequestError, on_error)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)


def _from_validation(error: RequestValidationError) -> RequestError:
    """One 400 for all problems of a body; the offending input itself is never echoed."""
    problems = error.errors()
    paths = [_path(problem["loc"]) for problem in problems]
    lines = [f"{path or 'body'}: {_message(problem)}" for path, problem in zip(paths, problems, strict=True)]
    return RequestError(
        "; ".join(lines[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else ""),
        status=400,
        code="invalid_request",
        param=paths[0] or None,
        item=_item(problems[0]["loc"]),
    )


def _item(loc: tuple[int | str, ...]) -> int | None:
    """Index of the item that a problem is in: of a list the entry, of a single item 0."""
    if loc[1:2] not in (("input",), ("inputs",)) or len(loc) < 3:
        return None
    if loc[2] != "list":
        return 0
    return loc[3] if len(loc) > 3 and isinstance(loc[3], int) else None


UNIONS = frozenset({"input", "inputs", "query"})
"""Fields that are a string or an object or, but for the last, a list."""

TAGS = frozenset({"text", "content", "list", "image_url", "input_audio", "video_url", "file"})
"""Names of union branches, which pydantic puts into paths beside real keys."""


def _path(loc: tuple[int | str, ...]) -> str:
    """Dotted path of a problem as the caller would write it: without ``body`` and without union branches."""
    steps = [step for step in loc if step != "body"]
    kept: list[str] = []
    for index, step in enumerate(steps):
        follows_union = index > 0 and (steps[index - 1] in UNIONS or isinstance(steps[index - 1], int))
        if not (follows_union and step in TAGS):
            kept.append(str(step))
    return ".".join(kept)


def _message(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "json_invalid":
        return "the body is not valid JSON"
    if problem["type"] == "union_tag_invalid" and isinstance(problem.get("ctx"), dict):
        return f"type must be one of {problem['ctx'].get('expected_tags')}"
    if problem["loc"][-1:] == ("content",) and problem["type"] in ("model_type", "model_attributes_type"):
        return 'must be a string or {"content": [part, ...]}; token ids are not accepted'
    return str(problem["msg"])


def _from_http(error: HTTPException) -> RequestError:
    code = HTTPStatus(error.status_code).name.lower()
    return RequestError(str(error.detail), status=error.status_code, code=code, headers=dict(error.headers or {}))
