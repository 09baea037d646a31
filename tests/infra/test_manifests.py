"""Renders are those of these sources; every object fits the schema of its kind; names of metrics exist."""

import copy
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from prometheus_client import REGISTRY

from components.train.config import TrainConfig
from components.train.job import Job
from components.train.nodes import Nodes
from components.train.trainjob import options_of, trainer_of
from pipelines.commands.doctor_queue import lacking, needed
from pipelines.recipe import load
from serving.config import ServingConfig
from serving.telemetry import metrics
from tests.components.train.cluster import Cluster, client
from tests.components.train.together import config
from tests.infra.manifests import INFRA, OVERLAYS, is_native, misfits, rendered
from tests.infra.policies import Object, name_of, pods_of

TOOLS = Path(os.environ.get("OMNIVEC_INFRA_TOOLS", INFRA.parent / ".omnivec/tools"))
MINORS = ("1.35.0", "1.36.0", "1.37.0")
ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
# Of kube-state-metrics, the kubelet and Prometheus; everything else has to be ours.
SITE_METRICS = frozenset(
    {"up", "kube_job_status_failed", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}
)


def custom() -> list[tuple[str, Object]]:
    found = {name_of(t): t for overlay in OVERLAYS for t in rendered(overlay) if not is_native(t)}
    return sorted(found.items())


def test_renders_are_of_these_sources() -> None:
    said = (INFRA / "rendered/SOURCES").read_text().splitlines()
    folders = ("base", "components", "overlays", "runtimes")
    files = [path for folder in folders for path in (INFRA / folder).rglob("*") if path.is_file()]
    now = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(INFRA)}" for path in files]
    assert sorted(said) == sorted(now), "run `make render` and review the difference"


@pytest.mark.parametrize(("name", "thing"), custom(), ids=lambda value: value if isinstance(value, str) else "")
def test_custom_objects_fit_their_published_schemas(name: str, thing: Object) -> None:
    assert misfits(thing) == [], name


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("ScaledObject", ("spec", "maxReplicas"), 3),
        ("ScaledObject", ("spec", "triggers", 0, "metadata"), None),
        ("ScaledObject", ("spec", "triggers", 0, "metricType"), 7),
        ("ServiceMonitor", ("spec", "endpoints", 0, "scheme"), "gopher"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "bearer"), {}),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "exp"), "up"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "for"), "soon"),
        ("ClusterTrainingRuntime", ("spec", "mlPolicy", "numNode"), 2),
        ("ClusterTrainingRuntime", ("spec", "template", "spec", "replicatedJobs"), "node"),
        ("ResourceFlavor", ("apiVersion",), "kueue.x-k8s.io/v1beta1"),
        ("ResourceFlavor", ("spec", "nodeLabel"), {}),
        ("ResourceFlavor", ("spec", "tolerations", 0, "value"), "present"),  # beside operator Exists
        ("ResourceFlavor", ("spec", "tolerations", 0, "effect"), "NoSchedul"),
        ("ClusterQueue", ("spec", "cohort"), "teams"),  # v1beta1's name of cohortName
        ("ClusterQueue", ("spec", "preemption", "withinClusterQueue"), "Lower"),
        ("ClusterQueue", ("spec", "queueingStrategy"), "FIFO"),
        ("ClusterQueue", ("spec", "resourceGroups", 0, "flavors", 0, "resources", 0, "nominalQuota"), "8 cores"),
        ("ClusterQueue", ("spec", "resourceGroups", 0, "flavors", 0, "resources", 0, "nominalQuota"), -1),
        ("ClusterQueue", ("spec", "resourceGroups", 0, "flavors"), []),
        ("LocalQueue", ("spec", "clusterqueue"), "omnivec"),
        ("LocalQueue", ("spec", "clusterQueue"), "Omnivec"),
        ("WorkloadPriorityClass", ("value",), "100"),
        ("WorkloadPriorityClass", ("spec",), {"value": 100}),
    ],
)
def test_the_schemas_refuse_what_is_wrong(kind: str, path: tuple[str | int, ...], value: Any) -> None:
    thing = copy.deepcopy(next(thing for _, thing in custom() if thing["kind"] == kind))
    place: Any = thing
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert misfits(thing) != []


def test_a_trainjob_as_the_step_makes_it_fits_the_schema(tmp_path: Path) -> None:
    """Through the SDK and HTTP, with the runtime of this repository."""
    job = {"mount": str(tmp_path), "gpus": 8, "claim": "omnivec-state"}
    job |= {"queue": "omnivec-training", "priority": "omnivec-urgent"}
    given = {"stage": config(1).stage.model_dump(mode="json"), "launch": {"backend": "trainjob", "nodes": 4}}
    launch = TrainConfig.parse({**given, "launch": {**given["launch"], "trainjob": job}}).launch
    with Cluster(tmp_path, command=["true"]) as cluster:
        nodes = Nodes(client(cluster), "omnivec-align-0123456789abcdef")
        image = nodes.image(launch.trainjob)
        nodes.start(trainer_of(launch, image, Job(tmp_path / "job")), options_of(launch.trainjob), "omnivec-torch")
    [made] = cluster.received
    assert image == "omnivec-train:0.1.0"
    assert made["spec"]["trainer"]["numNodes"] == 4
    assert misfits(made) == []
    made["spec"]["podSpecOverrides"] = []  # what Trainer before 2.2 took
    assert misfits(made) != []


def test_the_recipe_for_several_nodes_is_at_home_in_prod() -> None:
    """What `multinode` names is there, and its queue can start its jobs."""
    config = load("multinode")
    things = {name_of(thing): thing for thing in rendered("prod")}
    cluster, job = config.cluster, config.launch.trainjob
    wanted = [f"Namespace/{cluster.namespace}", f"PersistentVolumeClaim/{cluster.home_claim}"]
    wanted += [
        f"PersistentVolumeClaim/{job.claim}",
        f"LocalQueue/{cluster.queue}",
        f"ClusterTrainingRuntime/{job.runtime}",
        f"WorkloadPriorityClass/{cluster.priority}",
    ]
    assert set(wanted) <= set(things)
    address = urlsplit(cluster.tracking_uri or "")
    assert things[f"Service/{address.hostname}"]["spec"]["ports"][0]["port"] == address.port
    queue = things[f"ClusterQueue/{things[f'LocalQueue/{cluster.queue}']['spec']['clusterQueue']}"]
    assert lacking(queue["spec"], needed(config)) == []
    assert lacking(queue["spec"], needed(load("multinode", ["launch.nodes=5"]))) != []


def test_the_configuration_of_the_service_is_one_that_it_takes() -> None:
    for overlay in OVERLAYS:
        [found] = [t for t in rendered(overlay) if name_of(t) == "ConfigMap/omnivec-serving"]
        document = json.loads(found["data"]["serving.json"])
        config = ServingConfig.parse({**document, "artifact": "x"})
        [pods] = [pods for pods in pods_of(rendered(overlay)) if pods.owner == "Deployment/omnivec-serve"]
        [serve] = pods.spec["containers"]
        wait = serve["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pods.spec["terminationGracePeriodSeconds"] > wait + config.limits.max_timeout_seconds
        assert config.port == serve["ports"][0]["containerPort"]
        mounts = {mount["mountPath"] for mount in serve["volumeMounts"]}
        assert config.keys is None or str(config.keys.parent) in mounts


def exported() -> set[str]:
    """Names of the service's metrics as Prometheus sees them."""
    metrics()
    families = [family for family in REGISTRY.collect() if family.name.startswith("omnivec_")]
    return {f"{family.name}{ending}" for family in families for ending in ENDINGS[family.type]}


def expressions() -> dict[str, str]:
    """Every PromQL expression of alerts, dashboard and autoscaler."""
    found: dict[str, str] = {}
    for thing in rendered("prod"):
        for group in thing["spec"]["groups"] if thing["kind"] == "PrometheusRule" else ():
            found |= {rule["alert"]: rule["expr"] for rule in group["rules"]}
        for trigger in thing["spec"]["triggers"] if thing["kind"] == "ScaledObject" else ():
            if trigger["type"] == "prometheus":
                found["autoscaler"] = trigger["metadata"]["query"]
        for text in thing["data"].values() if name_of(thing) == "ConfigMap/omnivec-dashboard" else ():
            found |= {
                f"{panel['title']} {target['refId']}": target["expr"]
                for panel in json.loads(text)["panels"]
                for target in panel["targets"]
            }
    return found


def names_in(expression: str) -> set[str]:
    """Metrics of an expression: what stands before braces."""
    return set(re.findall(r"([a-z_][a-z0-9_]*)\s*\{", expression))


def test_alerts_dashboard_and_autoscaler_ask_for_metrics_that_exist() -> None:
    known = exported() | SITE_METRICS
    asked = {where: names_in(expression) for where, expression in expressions().items()}
    assert all(asked.values()), "every expression names a metric and a namespace"
    assert {where: names - known for where, names in asked.items() if names - known} == {}
    assert len(asked) > 15
    assert asked["autoscaler"] == {"omnivec_queue_items"}
    assert names_in('rate(omnivec_wishes_total{namespace="omnivec"}[5m])') - known == {"omnivec_wishes_total"}


def test_every_kind_is_checked_by_something() -> None:
    checked = {path.stem for path in (INFRA / "schemas").glob("*.json")}
    kinds = {t["kind"] for overlay in OVERLAYS for t in rendered(overlay) if not is_native(t)}
    assert {kind for kind in kinds if kind.lower() not in checked} == set()


def tool(name: str) -> str:
    path = TOOLS / name
    if not path.exists():
        pytest.skip(f"{path} is missing: run by make test-infra")
    return str(path)


@pytest.mark.container
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_renders_what_is_kept(overlay: str) -> None:
    command = [tool("kubectl"), "kustomize", str(INFRA / "overlays" / overlay)]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert made == (INFRA / "rendered" / f"{overlay}.yaml").read_text(), "run `make render` and review the difference"


@pytest.mark.container
@pytest.mark.parametrize("name", ["gpu", "mlflow-external", "mlflow-postgres"])
def test_components_that_no_overlay_of_ours_takes_fit_into_prod(name: str, tmp_path: Path) -> None:
    from tests.infra.policies import check

    own = {"resources": ["infra/overlays/prod"], "components": [f"infra/components/{name}"]}
    if name == "mlflow-external":  # another MLflow has its own store
        own["resources"] = ["infra/overlays/gpu"]
    (tmp_path / "infra").symlink_to(INFRA)
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
    command = [tool("kubectl"), "kustomize", "--load-restrictor=LoadRestrictionsNone", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    from tests.infra.policies import load

    assert [problem for problem in check(load(done.stdout)) if "placeholder" not in problem] == []


def validate(path: Path, minor: str) -> subprocess.CompletedProcess[str]:
    command = [tool("validate/bin/kubernetes-validate"), "--strict", "-k", minor, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.container
@pytest.mark.parametrize("minor", MINORS)
def test_every_object_is_what_kubernetes_takes(minor: str, tmp_path: Path) -> None:
    templates = [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "node"}, "template": {"spec": pods.spec}}
        for pods in pods_of(rendered("prod"))
    ]
    native = [thing for overlay in OVERLAYS for thing in rendered(overlay) if is_native(thing)]
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all([*native, *templates]))
    done = validate(path, minor)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "WARN" not in done.stdout, "a kind without a schema"


@pytest.mark.container
@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "replica"), 2),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "ports", 0, "containerPort"), "http"),
        ("NetworkPolicy", ("spec", "ingres"), []),
        ("CronJob", ("spec", "jobTemplate", "spec", "template", "spec", "restart"), "Never"),
    ],
)
def test_the_validator_refuses_what_is_wrong(
    kind: str, path: tuple[str | int, ...], value: Any, tmp_path: Path
) -> None:
    thing = next(t for t in rendered("prod") if t["kind"] == kind)
    place: Any = thing
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(thing))
    assert validate(tmp_path / "wrong.yaml", MINORS[-1]).returncode == 1
