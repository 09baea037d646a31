"""A pipeline under construction: tasks with their names, images, caching and place in a cluster."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipelines.cluster import ACTING, ClusterConfig
from pipelines.placement import place

REPORT = "report"


@dataclass(frozen=True)
class PlannedStep:
    """One step of the pipeline.

    Attributes:
        name: name for people, such as ``train-align``.
        component: folder under ``components``.
        task: name of the task in the compiled pipeline.
    """

    name: str
    component: str
    task: str

    @property
    def cached(self) -> bool:
        """Whether an earlier result with the same inputs may be taken."""
        return self.component not in ACTING


@dataclass
class Graph:
    """A pipeline under construction, and what is planned in it.

    Attributes:
        image: gives the container image of a component.
        cluster: resources and storage of the steps; None for a local run.
        fresh: nothing is taken from the cache.
        steps: the plan, in order; the report at the end is none of them.
        pipeline: the kfp pipeline, once built.
    """

    image: Callable[[str], str]
    cluster: ClusterConfig | None = None
    fresh: bool = False
    steps: list[PlannedStep] = field(default_factory=list)
    pipeline: Any = None

    def add(self, component: Any, name: str | None = None, **inputs: Any) -> Any:
        """Add a task; ``name`` distinguishes several tasks of one component."""
        kind = component.name.replace("-", "_")
        if name is not None:
            inputs["name"] = name
        task = component(**inputs)
        planned = PlannedStep(name or kind, kind, task.name)
        task.set_display_name(planned.name)
        task.set_container_image(self.image(kind))
        task.set_caching_options(planned.cached and not self.fresh)
        if self.cluster is not None:
            place(task, self.cluster, planned.name, kind)
        if kind != REPORT:
            self.steps.append(planned)
        return task
