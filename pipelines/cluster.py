"""What a cluster needs to know about a step: image, resources, storage. Ignored by a local run."""

from typing import Any

from pydantic import Field

from model.config import Config

HOME_MOUNT = "/var/lib/omnivec"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a mount point, not a file of ours


class Resources(Config):
    """Requests and limits of one step, in Kubernetes notation."""

    cpu: str = "2"
    memory: str = "8Gi"
    gpu_type: str = "nvidia.com/gpu"
    gpus: int = Field(0, ge=0)
    shared_memory: str | None = Field(None, description="size of /dev/shm; data loader workers need more than 64 MiB")


class ClusterConfig(Config):
    """Where the compiled pipeline runs.

    Attributes:
        image: container image with this project installed; give a digest, a tag that moves does not reset the cache.
        namespace: Kubernetes namespace of the runs.
        home_claim: PersistentVolumeClaim mounted as ``OMNIVEC_HOME``, for weights and checkpoints that outlive a pod.
        tracking_uri: MLflow address; leave empty where Kubeflow's MLflow plugin sets it.
        default: resources of a step without an entry of its own.
        steps: resources by step name (``train-finetune``) or component name (``train``).
        retries: how often a failed step is tried again.
    """

    image: str = "omnivec:0.1.0"
    namespace: str = "kubeflow"
    home_claim: str | None = None
    tracking_uri: str | None = None
    default: Resources = Resources()
    steps: dict[str, Resources] = Field(default_factory=dict)
    retries: int = Field(0, ge=0)

    def resources(self, step: str, component: str) -> Resources:
        """Resources of a step: its own entry, else its component's, else the default."""
        return self.steps.get(step) or self.steps.get(component) or self.default


def place(task: Any, cluster: ClusterConfig, step: str, component: str) -> None:
    """Put the cluster's settings on a KFP task."""
    from kfp import kubernetes

    wanted = cluster.resources(step, component)
    task.set_cpu_request(wanted.cpu).set_cpu_limit(wanted.cpu)
    task.set_memory_request(wanted.memory).set_memory_limit(wanted.memory)
    if wanted.gpus:
        task.set_accelerator_type(wanted.gpu_type).set_accelerator_limit(wanted.gpus)
    if wanted.shared_memory:
        kubernetes.empty_dir_mount(
            task, volume_name="shm", mount_path=SHARED_MEMORY, medium="Memory", size_limit=wanted.shared_memory
        )
    if cluster.retries:
        task.set_retry(cluster.retries, backoff_duration="60s", backoff_factor=2)
    if cluster.home_claim:
        kubernetes.mount_pvc(task, pvc_name=cluster.home_claim, mount_path=HOME_MOUNT)
        task.set_env_variable("OMNIVEC_HOME", HOME_MOUNT)
    if cluster.tracking_uri:
        task.set_env_variable("MLFLOW_TRACKING_URI", cluster.tracking_uri)
