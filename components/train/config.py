"""Configuration of the train step."""

from typing import Literal, Self

from pydantic import Field, model_validator

from components.contents import Contents
from model.config import Config
from model.training.config import StageConfig


class TrainJobConfig(Config):
    """What a Kubeflow ``TrainJob`` needs to know; for ``backend: trainjob``."""

    runtime: str = Field("omnivec-torch", description="ClusterTrainingRuntime or TrainingRuntime to run in")
    namespace: str | None = Field(None, description="that of the step when empty")
    image: str | None = Field(None, description="has this project installed; that of the runtime when empty")
    claim: str = Field("omnivec-state", description="PersistentVolumeClaim (ReadWriteMany) that all nodes mount")
    mount: str = Field("/var/lib/omnivec", description="where; OMNIVEC_HOME of the step has to lie in it")
    service_account: str | None = Field(None, description="of the nodes, which need no right in the cluster")
    cpu: str = Field("8", description="of each node, in Kubernetes notation, as are the next two")
    memory: str = "64Gi"
    shared_memory: str = Field("16Gi", description="size of /dev/shm, which NCCL and data loader workers use")
    gpus: int | None = Field(None, ge=0, description="of each node; one for each process when empty")
    gpu_type: str = "nvidia.com/gpu"
    timeout_minutes: float = Field(24 * 60, gt=0, description="of one attempt, waiting for nodes included")
    retries: int = Field(2, ge=0, description="further attempts; each goes on from the newest checkpoint")
    node_selector: dict[str, str] = Field(default_factory=dict, description="labels of the nodes")
    tolerations: tuple[dict[str, str | int], ...] = Field((), description="as in a PodSpec")
    pull_secrets: tuple[str, ...] = ()
    queue: str | None = Field(None, description="LocalQueue of Kueue, which starts all nodes together or none")
    priority: str | None = Field(
        None, description="WorkloadPriorityClass of Kueue: a job may make one of a lower value save, end and wait"
    )


class LaunchConfig(Config):
    """Where a stage trains; it changes nothing of what is learned but the order in which numbers are added."""

    backend: Literal["local", "trainjob"] = Field(
        "local", description="trainjob: nodes of a cluster, by Kubeflow Trainer; local: this machine"
    )
    nodes: int = Field(1, ge=1, description="of a trainjob")
    processes: int = Field(1, ge=1, description="on each node, with a share of the batch")
    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp", description="ddp: each process holds the whole model; fsdp: the layers of the trunk are shared out"
    )
    workers: int = Field(
        0, ge=0, description="processes beside each training process that make its batches; with 0 it makes its own"
    )
    prefetch: int = Field(2, ge=1, description="batches, or parts of large ones, that each worker makes ahead")
    keep_gb: float = Field(
        2.0,
        ge=0,
        description="with micro_batch_tokens: decoded media of a batch that are kept for the second pass over it; "
        "what is more is decoded again",
    )
    trainjob: TrainJobConfig = TrainJobConfig()

    @model_validator(mode="after")
    def _nodes_need_a_cluster(self) -> Self:
        if self.nodes > 1 and self.backend == "local":
            raise ValueError(f"nodes={self.nodes} needs backend: trainjob; this machine is one node, use processes")
        return self


class TrainConfig(Config):
    """One stage; a step of its own in the pipeline."""

    stage: StageConfig
    launch: LaunchConfig = LaunchConfig()
    contents: Contents
