"""``GET /v1/models``: which model answers, in which vector space, and what it allows."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from serving.responses import json_response
from serving.runtime import Runtime
from serving.schemas import ERRORS, ModelList, ModelObject, served
from serving.work import check_model, runtime_of

router = APIRouter(tags=["models"], responses=ERRORS)


def describe(runtime: Runtime) -> ModelObject:
    """The served model as clients see it."""
    config, engine = runtime.config, runtime.engine
    return ModelObject(
        id=config.model_name,
        created=runtime.created,
        version=config.version,
        vector_space=engine.vector_space,
        dimensions=list(engine.dimensions),
        default_dimensions=runtime.dimension,
        modalities=sorted(modality.value for modality in engine.modalities),
        tasks=sorted(engine.tasks),
        backend=config.backend,
        limits={**engine.limits.model_dump(), **config.limits.model_dump()},
    )


@router.get("/v1/models", response_model=ModelList)
async def list_models(request: Request) -> Response:
    """List the one model that is served."""
    runtime = runtime_of(request)
    return json_response(ModelList(data=[describe(runtime)]).model_dump(), headers=runtime.headers)


@router.get("/v1/models/{name}", response_model=ModelObject)
async def get_model(name: Annotated[str, Path(json_schema_extra=served("name"))], request: Request) -> Response:
    """Describe the served model."""
    runtime = runtime_of(request)
    check_model(runtime, name)
    return json_response(describe(runtime).model_dump(), headers=runtime.headers)
