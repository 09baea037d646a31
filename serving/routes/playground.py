"""``GET /``: a page to try the model in a browser; ``GET /gallery.json``: items that it finds neighbours in."""

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, Response

from serving.errors import RequestError
from serving.playground import page
from serving.runtime import Runtime
from serving.schemas import ERRORS, Gallery
from serving.work import runtime_of

router = APIRouter(tags=["playground"], responses=ERRORS)
NO_GALLERY = RequestError(
    "there is no gallery: `omnivec serve` makes one of the corpus's test items shortly after its start",
    status=404,
    code="no_gallery",
)


@router.get("/", include_in_schema=False)
async def playground() -> Response:
    """The page; it holds nothing of the service, and asks for a key where one is needed."""
    document, policy = page()
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return HTMLResponse(document, headers=headers)


@router.get("/gallery.json", response_model=Gallery)
async def gallery(request: Request) -> Response:
    """Items with vectors of the served model: ``vector_space``, ``corpus``, ``items`` of kind, label, uri, vector."""
    runtime: Runtime = runtime_of(request)
    path = runtime.config.gallery
    if path is None or not path.is_file():
        raise NO_GALLERY
    return FileResponse(path, media_type="application/json", headers=runtime.headers)
