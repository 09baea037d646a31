"""``POST /similarity``: cosine similarity of one item with many.

Shape legend: N documents, d requested dimensions.
"""

from fastapi import APIRouter, Request
from starlette.responses import Response

from serving.convert import to_content
from serving.parsing import JsonRoute
from serving.responses import json_response
from serving.schemas import ASKED, ERRORS, SimilarityRequest, SimilarityResponse
from serving.work import check_count, check_model, checked_dimension, convert_all, embed, naming, runtime_of

router = APIRouter(tags=["similarity"], route_class=JsonRoute, responses=ERRORS)


@router.post("/similarity", response_model=SimilarityResponse, openapi_extra=ASKED)
async def compare(body: SimilarityRequest, request: Request) -> Response:
    """Similarities in the order of the documents; every item counts as one of the request."""
    runtime = runtime_of(request)
    check_model(runtime, body.model)
    items = [body.query, *body.documents]
    check_count(runtime, len(items), param="documents")
    dimension = checked_dimension(runtime, body.dimensions)
    limits = runtime.engine.limits
    tasks = [body.query_task, *[body.document_task] * len(body.documents)]
    with naming(lambda index: f"documents.{index - 1}" if index else "query"):
        pairs = list(zip(items, tasks, strict=True))
        contents = await convert_all(
            pairs, lambda pair: to_content(pair[0], task=pair[1], limits=limits, fetch=runtime.fetcher), runtime
        )
        done = await embed(request, runtime, contents)
    vectors_Nd = runtime.engine.finish(done.embedded.vectors_ND, dimension)
    similarities_N = vectors_Nd[1:] @ vectors_Nd[0]  # unit vectors: their product is the cosine
    answer = {"object": "list", "similarities": similarities_N, "model": body.model, "usage": done.usage}
    return json_response(answer, headers=runtime.headers)
