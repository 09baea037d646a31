"""Put the cluster section of a recipe on the tasks of a compiled pipeline."""

from collections.abc import Callable
from typing import Any

from components.train.config import LaunchConfig
from pipelines.cluster import HOME_MOUNT, RUN_ID_LABEL, SHARED_MEMORY, ClusterConfig, Mounted, Resources
from pipelines.config import RunConfig

NODES = "nodes"


def place(task: Any, cluster: ClusterConfig, step: str, component: str) -> None:
    """Put the cluster's settings on a KFP task."""
    from kfp import kubernetes

    wanted = cluster.resources(step, component)
    _compute(task, wanted)
    _nodes(task, wanted)
    _attempts(task, cluster, wanted)
    _values(task, cluster, step, component)
    kubernetes.set_image_pull_policy(task, cluster.pull_policy)
    if cluster.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(cluster.pull_secrets))
    if cluster.security:
        user = cluster.security
        kubernetes.set_security_context(
            task, run_as_user=user.run_as_user, run_as_group=user.run_as_group, run_as_non_root=True
        )
    for key, value in {"app.kubernetes.io/part-of": "omnivec", "omnivec/step": step, **wanted.labels}.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in wanted.annotations.items():
        kubernetes.add_pod_annotation(task, key, value)


def image_of(config: RunConfig, component: str) -> str:
    """Image of a component, or of the ``nodes`` of a TrainJob."""
    if component == NODES:
        return config.cluster.image_of("train")
    if component == "train" and config.launch.backend == "trainjob":
        return config.cluster.image_of_launcher()
    return config.cluster.image_of(component)


def pipeline_config(cluster: ClusterConfig | None) -> Any:
    """Settings of the whole run; None where there is nothing to say."""
    from kfp import dsl

    if cluster is None or (cluster.deadline_hours is None and cluster.keep_hours is None):
        return None
    seconds = {"active_deadline_seconds": cluster.deadline_hours, "ttl_seconds_after_finished": cluster.keep_hours}
    return dsl.PipelineConfig(**{name: round(3600 * hours) for name, hours in seconds.items() if hours is not None})


def launched(launch: LaunchConfig, cluster: ClusterConfig | None, image: Callable[[str], str]) -> LaunchConfig:
    """A TrainJob on the volume, the nodes and in the queue of the cluster section, where it names none itself."""
    if cluster is None or launch.backend != "trainjob":
        return launch
    nodes = cluster.on_gpu_nodes(Resources()) if launch.trainjob.gpus != 0 else Resources()
    found = {
        "image": image(NODES),
        "claim": cluster.home_claim,
        "mount": HOME_MOUNT if cluster.home_claim else None,
        "queue": cluster.queue,
        "priority": cluster.priority,
        "pull_secrets": cluster.pull_secrets,
        "node_selector": nodes.node_selector,
        "tolerations": [_toleration(entry, "tolerationSeconds") for entry in nodes.tolerations],
    }
    given = launch.trainjob.model_dump(exclude_unset=True)
    filled = {name: value for name, value in found.items() if value} | given
    return launch.model_copy(update={"trainjob": type(launch.trainjob).parse(filled)})


def _compute(task: Any, wanted: Resources) -> None:
    from kfp import kubernetes

    cpu, memory = wanted.limits()
    task.set_cpu_request(wanted.cpu)
    task.set_memory_request(wanted.memory)
    if cpu:
        task.set_cpu_limit(cpu)
    if memory:
        task.set_memory_limit(memory)
    if wanted.gpus:
        task.set_accelerator_type(wanted.gpu_type).set_accelerator_limit(wanted.gpus)
    if wanted.shared_memory:
        kubernetes.empty_dir_mount(
            task, volume_name="shm", mount_path=SHARED_MEMORY, medium="Memory", size_limit=wanted.shared_memory
        )


def _nodes(task: Any, wanted: Resources) -> None:
    from kfp import kubernetes

    for key, value in wanted.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for entry in wanted.tolerations:
        kubernetes.add_toleration(task, **_toleration(entry, "toleration_seconds"))
    for term in wanted.affinity:
        matches = [condition.model_dump(mode="json") for condition in term.match]
        kubernetes.add_node_affinity(task, match_expressions=matches, weight=term.weight)


def _toleration(entry: Any, seconds: str) -> dict[str, Any]:
    values = entry.model_dump(exclude_none=True, exclude={"seconds"})
    return values if entry.seconds is None else {**values, seconds: entry.seconds}


def _attempts(task: Any, cluster: ClusterConfig, wanted: Resources) -> None:
    from kfp import kubernetes

    retries = cluster.retries if wanted.retries is None else wanted.retries
    if retries:
        task.set_retry(
            retries,
            backoff_duration=f"{cluster.retry_seconds}s",
            backoff_factor=cluster.retry_factor,
            backoff_max_duration=f"{cluster.retry_seconds_max}s",
        )
    if wanted.timeout_minutes:
        kubernetes.set_timeout(task, max(1, round(60 * wanted.timeout_minutes)))
    if wanted.cache is False:
        task.set_caching_options(False)


def _values(task: Any, cluster: ClusterConfig, step: str, component: str) -> None:
    """Home, variables, Secrets and ConfigMaps."""
    from kfp import kubernetes

    kubernetes.use_field_path_as_env(task, env_name="OMNIVEC_RUN_ID", field_path=f"metadata.labels['{RUN_ID_LABEL}']")
    task.set_env_variable("OMNIVEC_HOME", HOME_MOUNT)
    if cluster.home_claim:
        kubernetes.mount_pvc(task, pvc_name=cluster.home_claim, mount_path=HOME_MOUNT)
    else:  # the file system of the image may not be written to
        kubernetes.empty_dir_mount(task, volume_name="home", mount_path=HOME_MOUNT)
    if cluster.tracking_uri:
        task.set_env_variable("MLFLOW_TRACKING_URI", cluster.tracking_uri)
    for name, value in cluster.env.items():
        task.set_env_variable(name, value)

    def mount(entries: tuple[Mounted, ...], as_env: Any, as_volume: Any) -> None:
        for entry in entries:
            if not entry.wanted(step, component):
                continue
            for variable, key in entry.env.items():
                as_env(task, entry.name, {key: variable}, optional=entry.optional)
            if entry.mount:
                as_volume(task, entry.name, entry.mount, optional=entry.optional)

    mount(cluster.secrets, kubernetes.use_secret_as_env, kubernetes.use_secret_as_volume)
    mount(cluster.config_maps, kubernetes.use_config_map_as_env, kubernetes.use_config_map_as_volume)
