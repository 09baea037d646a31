"""What is allowed in a recipe's cluster section and probably not meant."""

from pipelines.cluster import ClusterConfig
from pipelines.config import RunConfig
from pipelines.graph import step_names


def advice(config: RunConfig, image: str | None = None) -> list[str]:
    """One sentence for each thing that a person should look at before a run goes to a cluster."""
    cluster = config.cluster
    return [*_images(cluster, image), *_steps(config), *_trainjob(config), *_storage(config)]


def _images(cluster: ClusterConfig, image: str | None) -> list[str]:
    images = [image] if image else cluster.all_images()
    return [
        f"image {name} is not named by digest: a tag that moves changes neither the cache nor what a node has pulled; "
        "give NAME@sha256:..."
        for name in images
        if "@sha256:" not in name
    ]


def _steps(config: RunConfig) -> list[str]:
    names = step_names(config)
    components = {name.partition("-")[0] for name in names} | {"report"}
    wanted = set(config.cluster.steps)
    for entry in (*config.cluster.secrets, *config.cluster.config_maps):
        wanted |= set(entry.steps)
    absent = sorted(wanted - set(names) - components)
    return [f"cluster names the step {name!r}, which this run does not have: {', '.join(names)}" for name in absent]


def _trainjob(config: RunConfig) -> list[str]:
    if config.launch.backend != "trainjob":
        return []
    found, wanted = [], config.launch.trainjob
    launcher = config.cluster.resources("train", "train")
    needed = wanted.timeout_minutes * (wanted.retries + 1)
    if launcher.timeout_minutes is not None and launcher.timeout_minutes < needed:
        found.append(
            f"the step that launches a TrainJob ends after {launcher.timeout_minutes:g} minutes, before the job's "
            f"attempts may be over ({needed:g}): raise cluster.steps.train.timeout_minutes"
        )
    if launcher.gpus:
        found.append(f"the step that launches a TrainJob only waits, and asks for {launcher.gpus} GPU(s) of its own")
    if (wanted.priority or config.cluster.priority) and not (wanted.queue or config.cluster.queue):
        found.append(
            "a priority is heeded by Kueue alone, which takes a job without a queue only where the namespace has a "
            "LocalQueue named 'default': set cluster.queue"
        )
    if config.cluster.home_claim and "claim" in wanted.model_fields_set and wanted.claim != config.cluster.home_claim:
        found.append(
            f"the nodes of a TrainJob mount {wanted.claim!r} and the steps {config.cluster.home_claim!r}: they have to "
            "share checkpoints; leave launch.trainjob.claim out"
        )
    return found


def _storage(config: RunConfig) -> list[str]:
    if config.cluster.home_claim is not None:
        return []
    retried = config.cluster.retries or any(entry.retries for entry in config.cluster.steps.values())
    lost = "a retried step starts from nothing, and the report knows no step" if retried else "checkpoints do not last"
    return [f"cluster.home_claim is empty: {lost}"]
