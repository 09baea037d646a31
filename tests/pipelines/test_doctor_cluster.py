"""``omnivec doctor --cluster`` and ``omnivec logs`` against a Kubernetes API on this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.access import Access
from pipelines.commands.doctor import Check
from pipelines.commands.doctor_cluster import examine_cluster
from pipelines.commands.doctor_nodes import Demand, obstacles
from pipelines.kube import api_client
from pipelines.pods import step_of
from pipelines.recipe import load
from tests.pipelines.fake_kfp import FakeKfp
from tests.pipelines.fake_kubernetes import FakeKubernetes
from tests.pipelines.test_submit import omnivec, submitted

NAMESPACE = "/api/v1/namespaces/team"
H200 = {"nvidia.com/gpu": "8", "cpu": "192", "memory": "2000Gi"}
KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
LOCAL, BEHIND = f"{KUEUE}/namespaces/team/localqueues/train", f"{KUEUE}/clusterqueues/gpus"
URGENT = f"{KUEUE}/workloadpriorityclasses/urgent"
INACTIVE = {"type": "Active", "status": "False", "message": "no such queue"}
ROOM = {"cpu": "400", "memory": "4Ti", "gpu": 32}
RECIPE = [
    "cluster.queue=train",
    "cluster.priority=urgent",
    "cluster.pull_secrets=[pull]",
    "cluster.secrets=[{name: mlflow, env: {MLFLOW_TRACKING_TOKEN: token}}]",
    "cluster.config_maps=[{name: site, mount: /etc/site}]",
    "cluster.service_account=pipelines",
    "cluster.gpu_nodes={node_selector: {pool: h200}, tolerations: [{key: nvidia.com/gpu, effect: NoSchedule}]}",
    "cluster.default={timeout_minutes: 600, cpu: 4, memory: 16Gi}",
]


def group(name: str, version: str, *resources: str) -> dict[str, Any]:
    return {
        f"/apis/{name}": {"name": name, "versions": [{"version": version}]},
        f"/apis/{name}/{version}": {"resources": [{"name": resource} for resource in resources]},
    }


def quotas(**amounts: str | int) -> dict[str, Any]:
    """A resource group with one flavor, ``a``."""
    named = {"nvidia.com/gpu" if name == "gpu" else name: amount for name, amount in amounts.items()}
    resources = [{"name": name, "nominalQuota": amount} for name, amount in named.items()]
    return {"coveredResources": list(named), "flavors": [{"name": "a", "resources": resources}]}


def node(name: str, allocatable: dict[str, str], *, taint: str | None = None, **labels: str) -> dict[str, Any]:
    taints = [{"key": taint, "value": "present", "effect": "NoSchedule"}] if taint else []
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"allocatable": allocatable},
    }


def ready() -> dict[str, Any]:
    """A cluster in which the multi-node recipe can run."""
    gpus = [node(f"h200-{i}", H200, taint="nvidia.com/gpu", pool="h200") for i in range(4)]
    claim = {"spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Bound"}}
    return {
        **group("argoproj.io", "v1alpha1", "workflows"),
        **group("trainer.kubeflow.org", "v1alpha1", "trainjobs", "clustertrainingruntimes"),
        **group("jobset.x-k8s.io", "v1alpha2", "jobsets"),
        **group("kueue.x-k8s.io", "v1beta2", "localqueues"),
        NAMESPACE: {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
        f"{NAMESPACE}/secrets/mlflow": {"data": {"token": "eA=="}},
        f"{NAMESPACE}/secrets/pull": {"type": "kubernetes.io/dockerconfigjson"},
        f"{NAMESPACE}/configmaps/site": {"data": {}},
        f"{NAMESPACE}/serviceaccounts/pipelines": {},
        f"{NAMESPACE}/persistentvolumeclaims/omnivec-state": claim,
        "/apis/storage.k8s.io/v1/storageclasses": {"items": [{"metadata": {"name": "shared"}}]},
        "/apis/trainer.kubeflow.org/v1alpha1/clustertrainingruntimes/omnivec-torch-gpu": {},
        LOCAL: {"spec": {"clusterQueue": "gpus"}, "status": {"conditions": [{"type": "Active", "status": "True"}]}},
        BEHIND: {"spec": {"resourceGroups": [quotas(cpu="400", memory="4Ti", gpu=32)]}},
        URGENT: {"value": 1000},
        "/api/v1/nodes": {"items": [*gpus, node("cpu-0", {"cpu": "32", "memory": "128Gi"})]},
    }


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    with FakeKubernetes(ready()) as server:
        yield server


def findings(
    cluster: FakeKubernetes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *more: str, access: Access | None = None
) -> list[Check]:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(cluster.kubeconfig(tmp_path)))
    config = load("multinode", [*RECIPE, *more])
    return list(examine_cluster(api_client(), config, access, "team"))


def test_a_cluster_that_is_ready_passes(cluster, tmp_path, monkeypatch) -> None:
    checks = findings(cluster, tmp_path, monkeypatch)
    assert [check for check in checks if not check.ok] == []
    names = {check.name for check in checks}
    assert names >= {
        "kubernetes",
        "workflows",
        "trainjobs",
        "kueue",
        "secret",
        "configmap",
        "claim",
        "runtime",
        "fits",
        "quota",
        "priority",
    }
    said = "\n".join(check.found for check in checks)
    assert "8 x nvidia.com/gpu, 96 cpu, 768 GiB, pool=h200: 4 of 5 nodes (for TrainJob), 4 needed" in said
    assert "monitoring.coreos.com is not installed (not needed by this recipe)" in said


def without(path: str) -> Any:
    return lambda documents: documents.pop(path)


def put(path: str, value: Any) -> Any:
    return lambda documents: documents.update({path: value})


CLAIM = f"{NAMESPACE}/persistentvolumeclaims/omnivec-state"
LOST = [
    (without("/apis/argoproj.io"), "workflows", "not installed", "install Kubeflow Pipelines"),
    (without("/apis/trainer.kubeflow.org"), "trainjobs", "not installed", "Kubeflow Trainer 2.2"),
    (put("/apis/jobset.x-k8s.io", {"versions": [{"version": "v1"}]}), "jobsets", "serves v1, not v1alpha2", "another"),
    (without("/apis/kueue.x-k8s.io"), "kueue", "not installed", "leave cluster.queue empty"),
    (without(NAMESPACE), "namespace", "there is no 'team'", "profile"),
    (without(f"{NAMESPACE}/secrets/mlflow"), "secret", "not found", "secret generic mlflow --from-literal=token="),
    (put(f"{NAMESPACE}/secrets/mlflow", {"data": {}}), "secret", "without token", "--from-literal=token"),
    (put(f"{NAMESPACE}/secrets/pull", {"type": "Opaque"}), "pull secret", "type Opaque", "docker-registry pull"),
    (without(f"{NAMESPACE}/configmaps/site"), "configmap", "not found", "create -n team configmap site"),
    (without(f"{NAMESPACE}/serviceaccounts/pipelines"), "account", "not found", "create -n team serviceaccount"),
    (without(CLAIM), "claim", "not found", "ReadWriteMany (storage classes: shared)"),
    (put(CLAIM, {"spec": {"accessModes": ["ReadWriteOnce"]}, "status": {}}), "claim", "ReadWriteOnce", "several nodes"),
    (
        put(CLAIM, {"spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Lost"}}),
        "claim",
        "Lost",
        "describe",
    ),
    (
        without("/apis/trainer.kubeflow.org/v1alpha1/clustertrainingruntimes/omnivec-torch-gpu"),
        "runtime",
        "not found",
        "kubectl apply -k infra/base/gpu-runtime",
    ),
    (without(LOCAL), "queue", "not found", "LocalQueue"),
    (put(LOCAL, {"status": {"conditions": [INACTIVE]}}), "queue", "takes no job: no such queue", "describe -n team"),
    (without(URGENT), "priority", "urgent: urgent not found", "make the WorkloadPriorityClass 'urgent'"),
    (without(BEHIND), "quota", "ClusterQueue gpus: gpus not found", "make the ClusterQueue"),
    (
        put(BEHIND, {"spec": {"resourceGroups": [quotas(cpu="400", memory="2Ti", gpu=8)]}}),
        "quota",
        "3072 GiB of memory needed, 2048 GiB in flavor a; 32 of nvidia.com/gpu needed, 8 in flavor a",
        "raise nominalQuota",
    ),
    (
        put(BEHIND, {"spec": {"resourceGroups": [quotas(cpu="400", memory="4Ti")]}}),
        "quota",
        "no nvidia.com/gpu: the queue does not cover it",
        "for ever",
    ),
    (put(BEHIND, {"spec": {"resourceGroups": []}, "status": {"conditions": [INACTIVE]}}), "quota", "no cpu", "raise"),
    (
        put(BEHIND, {"spec": {"resourceGroups": [quotas(**ROOM)]}, "status": {"conditions": [INACTIVE]}}),
        "quota",
        "takes no job",
        "describe clusterqueue gpus",
    ),
    (put("/version", {"major": "1", "minor": "27+", "gitVersion": "v1.27.1"}), "kubernetes", "v1.27.1", "1.30"),
]


@pytest.mark.parametrize(("change", "name", "found", "way_out"), LOST)
def test_what_is_missing_is_named_with_the_way_out(
    cluster, tmp_path, monkeypatch, change, name, found, way_out
) -> None:
    change(cluster.documents)
    wrong = [check for check in findings(cluster, tmp_path, monkeypatch) if not check.ok]
    assert {check.name for check in wrong} == {name}
    assert found in wrong[0].found
    assert way_out in wrong[0].next


def test_nodes_that_do_not_fit(cluster, tmp_path, monkeypatch) -> None:
    items = [node("a10-0", {**H200, "nvidia.com/gpu": "1"}, taint="nvidia.com/gpu", pool="h200")]
    cluster.documents["/api/v1/nodes"] = {"items": [*items, node("cpu-0", {"cpu": "32", "memory": "128Gi"})]}
    wrong = [check for check in findings(cluster, tmp_path, monkeypatch) if not check.ok]
    assert [check.name for check in wrong] == ["fits"]
    assert "0 of 2 nodes (for TrainJob), 4 needed" in wrong[0].found
    assert "a10-0 comes nearest and has 1 nvidia.com/gpu: ask for less" in wrong[0].next
    tainted = [check for check in findings(cluster, tmp_path, monkeypatch, "cluster.gpu_nodes={}") if not check.ok]
    assert "put up with the taint by cluster.gpu_nodes.tolerations" in tainted[0].next


@pytest.mark.parametrize(
    ("taint", "tolerations", "takes"),
    [
        ("gpu", (), False),
        ("gpu", ((("key", "gpu"), ("operator", "Exists")),), True),
        ("gpu", ((("operator", "Exists"),),), True),
        ("gpu", ((("key", "other"), ("operator", "Exists")),), False),
        ("gpu", ((("key", "gpu"), ("operator", "Equal"), ("value", "present")),), True),
        ("gpu", ((("key", "gpu"), ("operator", "Equal"), ("value", "absent")),), False),
        ("gpu", ((("key", "gpu"), ("operator", "Exists"), ("effect", "NoExecute")),), False),
        (None, (), True),
    ],
)
def test_taints(taint, tolerations, takes) -> None:
    demand = Demand(cpu=1, memory=2**30, gpus=0, gpu_type="nvidia.com/gpu", tolerations=tolerations)
    assert (obstacles(node("n", H200, taint=taint), demand) == []) is takes


def test_a_flavor_that_is_large_enough_and_a_cohort_that_lends_will_do(cluster, tmp_path, monkeypatch) -> None:
    group = quotas(cpu="400", memory="4Ti", gpu=8)
    spec: dict[str, Any] = {"resourceGroups": [group]}
    cluster.documents[BEHIND] = {"spec": spec}
    assert [c.name for c in findings(cluster, tmp_path, monkeypatch) if not c.ok] == ["quota"]
    spec["cohortName"] = "everybody"
    assert [c for c in findings(cluster, tmp_path, monkeypatch) if not c.ok] == []
    group["flavors"][0]["resources"][2]["borrowingLimit"] = 8
    [wrong] = [c for c in findings(cluster, tmp_path, monkeypatch) if not c.ok]
    assert "32 of nvidia.com/gpu needed, 16 in flavor a" in wrong.found
    group["flavors"].append({**quotas(**ROOM)["flavors"][0], "name": "b"})
    assert [c for c in findings(cluster, tmp_path, monkeypatch) if not c.ok] == []


def test_a_runtime_of_somebody_else_is_not_ours_to_install(cluster, tmp_path, monkeypatch) -> None:
    [wrong] = [c for c in findings(cluster, tmp_path, monkeypatch, "launch.trainjob.runtime=theirs") if not c.ok]
    assert "theirs: theirs not found" in wrong.found
    assert "one of ours: omnivec-torch, omnivec-torch-gpu" in wrong.next


def test_rights_that_are_missing(cluster, tmp_path, monkeypatch) -> None:
    cluster.denied = {"create runs", "create trainjobs", "get pods/log"}
    wrong = {check.name: check for check in findings(cluster, tmp_path, monkeypatch) if not check.ok}
    assert set(wrong) == {"submit", "logs", "launcher"}
    assert "you may not create runs" in wrong["submit"].found
    assert wrong["launcher"].found == "system:serviceaccount:team:pipelines may not create trainjobs, get pods/log"
    assert "launcher-rbac.yaml" in wrong["launcher"].next


def test_what_one_may_not_see_is_said_and_passes(cluster, tmp_path, monkeypatch) -> None:
    cluster.hidden = ("/api/v1/", "/apis/storage", "/apis/authorization", "/apis/trainer.kubeflow.org/v1alpha1/clus")
    checks = findings(cluster, tmp_path, monkeypatch)
    assert [check for check in checks if not check.ok] == []
    assert sum("not visible to you" in check.found for check in checks) >= 8


def test_a_restricted_namespace_needs_a_user(cluster, tmp_path, monkeypatch) -> None:
    wrong = [check for check in findings(cluster, tmp_path, monkeypatch, "cluster.security=null") if not check.ok]
    assert [check.name for check in wrong] == ["namespace"]


def test_pipelines_are_asked_too(cluster, tmp_path, monkeypatch) -> None:
    with FakeKfp() as kfp:
        checks = findings(cluster, tmp_path, monkeypatch, access=Access(kfp.address, "team"))
        assert next(c for c in checks if c.name == "pipelines").found.startswith(f"{kfp.address}, several users")
        kfp.login = True
        wrong = [c for c in findings(cluster, tmp_path, monkeypatch, access=Access(kfp.address, "team")) if not c.ok]
    assert "web page" in wrong[0].found


def test_the_command_prints_and_ends_with_1(cluster, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(cluster.kubeconfig(tmp_path)))
    cluster.documents.pop(CLAIM)
    settings = [part for setting in RECIPE for part in ("--set", setting)]
    done = omnivec("doctor", "--cluster", "--recipe", "multinode", "-n", "team", *settings)
    assert done.exit_code == 1
    assert "FAIL claim" in done.stdout
    assert "     -> make a PersistentVolumeClaim" in done.stdout
    assert "ok   workflows" in done.stdout


def pod(name: str, run_id: str, step: str | None, node_name: str, **status: Any) -> dict[str, Any]:
    labels = {"pipeline/runid": run_id} | ({"omnivec/step": step} if step else {})
    notes = {"workflows.argoproj.io/node-name": node_name}
    return {"metadata": {"name": name, "labels": labels, "annotations": notes}, "status": status}


def test_logs_of_a_step(cluster, tmp_path, monkeypatch, fake, corpus, at_home) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(cluster.kubeconfig(tmp_path)))
    submitted(fake, corpus, "--run-name", "mine")
    fake.script = [{"train-2": "FAILED", "": "FAILED"}]
    killed = {"name": "main", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    run_id = "00000000-run-1"
    cluster.documents[f"{NAMESPACE}/pods"] = {
        "items": [
            pod("driver", run_id, None, "w.root.exit-handler-1.train-2-driver"),
            pod("impl-1", run_id, "train-finetune", "x", phase="Failed", containerStatuses=[killed]),
            pod("impl-2", run_id, None, "w.root.exit-handler-1.train-2.executor(1)", phase="Failed"),
            pod("other", "another-run", "train-finetune", "x"),
        ]
    }
    cluster.documents[f"{NAMESPACE}/pods/impl-1/log"] = "step 1\nstep 2\n"
    cluster.documents[f"{NAMESPACE}/pods/impl-2/log"] = "12"
    host = ["--host", fake.address, "-n", "team"]
    done = omnivec("logs", "mine", *host)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "=== attempt 1 of 2: impl-1 (Failed)",
        "step 1",
        "step 2",
        "--- the container: OOMKilled, exit code 137",
        "=== attempt 2 of 2: impl-2 (Failed)",
        "12",
    ]
    gone = omnivec("logs", "mine", "validate", *host)
    assert gone.exit_code == 3
    assert "no pod of step 'validate'" in gone.stderr
    assert "archiveLogs" in gone.stderr
    unknown = omnivec("logs", "mine", "nosuch", *host)
    assert "the run has no step 'nosuch'" in str(unknown.exception)


@pytest.mark.parametrize(
    ("node_name", "step"),
    [
        ("w.root.exit-handler-1.train-2.executor(0)", "train-finetune"),
        ("w.root.exit-handler-1.validate.executor", "validate"),
        ("w.root.exit-handler-1.validate-driver", None),
        ("w.root", None),
        ("", None),
    ],
)
def test_which_step_a_pod_ran(node_name, step) -> None:
    assert step_of(pod("p", "r", None, node_name), {"train-2": "train-finetune", "validate": "validate"}) == step
