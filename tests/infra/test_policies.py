"""Every overlay keeps every rule, and every rule sees when it is broken."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.infra.manifests import OVERLAYS, rendered
from tests.infra.policies import PLACEHOLDER, RULES, Object, check, digests, name_of

SERVE, DRIFT, NODE = "Deployment/omnivec-serve", "CronJob/omnivec-drift", "ClusterTrainingRuntime/omnivec-torch"
Change = Callable[[dict[str, Object]], Any]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_keep_the_rules(overlay: str, rule: str) -> None:
    problems = check(rendered(overlay), rule)
    if (overlay, rule) == ("prod", "images"):
        # Kept on purpose, so that prod cannot be applied before somebody has set the digests of real images.
        assert problems
        assert all("has a placeholder for its digest" in problem for problem in problems)
    else:
        assert problems == []


def test_prod_takes_images_by_digest_alone() -> None:
    assert list(digests(rendered("prod"))) == []
    assert "needs a digest" in " ".join(digests(rendered("gpu")))
    objects = rendered("prod")
    assert PLACEHOLDER in str(objects)
    pods = serve(by_name(objects))
    for container in [*pods["initContainers"], *pods["containers"]]:
        container["image"] = "registry.example/omnivec-serve@sha256:" + "5e" * 32
    assert not [problem for problem in check(objects, "images") if problem.startswith(SERVE)]


def by_name(objects: list[Object]) -> dict[str, Object]:
    return {name_of(thing): thing for thing in objects}


def serve(things: dict[str, Object]) -> Object:
    spec: Object = things[SERVE]["spec"]["template"]["spec"]
    return spec


def main(things: dict[str, Object]) -> Object:
    container: Object = serve(things)["containers"][0]
    return container


def drift(things: dict[str, Object]) -> Object:
    spec: Object = things[DRIFT]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def node(things: dict[str, Object]) -> Object:
    job = things[NODE]["spec"]["template"]["spec"]["replicatedJobs"][0]
    template: Object = job["template"]["spec"]["template"]
    return template


def quotas(things: dict[str, Object]) -> Object:
    group: Object = things["ClusterQueue/omnivec"]["spec"]["resourceGroups"][0]
    return group


def secret(things: dict[str, Object]) -> None:
    things["Secret/x"] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "omnivec"}}


def binding(things: dict[str, Object]) -> None:
    metadata = {"name": "x"}
    things["x"] = {**things["RoleBinding/omnivec-launcher"], "kind": "ClusterRoleBinding", "metadata": metadata}


def second_scaler(things: dict[str, Object]) -> None:
    metadata = {"name": "x", "namespace": "omnivec"}
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "omnivec-serve"}}
    things["x"] = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": spec,
    }


MUTATIONS: list[tuple[str, str, Change]] = [
    ("not_root", "runAsNonRoot", lambda t: serve(t)["securityContext"].pop("runAsNonRoot")),
    ("not_root", "not 0", lambda t: drift(t)["securityContext"].update(runAsUser=0)),
    ("not_root", "seccomp", lambda t: node(t)["spec"]["securityContext"].pop("seccompProfile")),
    ("not_root", "hostNetwork", lambda t: node(t)["spec"].update(hostNetwork=True)),
    ("not_root", "hostPath", lambda t: serve(t)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    ("not_root", "privileged", lambda t: main(t)["securityContext"].update(privileged=True)),
    ("not_root", "Escalation", lambda t: main(t)["securityContext"].pop("allowPrivilegeEscalation")),
    ("not_root", "capabilities", lambda t: main(t)["securityContext"]["capabilities"].update(add=["SYS_ADMIN"])),
    (
        "not_root",
        "readOnlyRoot",
        lambda t: serve(t)["initContainers"][0]["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    ("not_root", "as root", lambda t: main(t)["securityContext"].update(runAsUser=0)),
    ("resources", "limits lacks memory", lambda t: main(t)["resources"]["limits"].pop("memory")),
    ("resources", "requests lacks cpu", lambda t: node(t)["spec"]["containers"][0]["resources"]["requests"].pop("cpu")),
    ("resources", "sizeLimit", lambda t: serve(t)["volumes"][0].update(emptyDir={})),
    ("probes", "readinessProbe", lambda t: main(t).pop("readinessProbe")),
    ("probes", "startupProbe", lambda t: serve(t)["initContainers"][0].pop("startupProbe")),
    ("probes", "preStop", lambda t: serve(t).update(terminationGracePeriodSeconds=5)),
    ("images", "latest", lambda t: main(t).update(image="registry.example:5000/omnivec-serve:latest")),
    ("images", "latest", lambda t: drift(t)["containers"][0].update(image="registry.example:5000/omnivec-pipeline")),
    ("tokens", "ServiceAccount/mlflow", lambda t: t["ServiceAccount/mlflow"].pop("automountServiceAccountToken")),
    ("tokens", SERVE, lambda t: serve(t).update(automountServiceAccountToken=True)),
    (
        "references",
        "Secret/omnivec-key,",
        lambda t: serve(t)["volumes"][3].update(secret={"secretName": "omnivec-key"}),
    ),
    ("references", "ConfigMap/omnivec-settings,", lambda t: drift(t)["containers"][0].update(envFrom=SETTINGS)),
    ("references", "PersistentVolumeClaim/x,", lambda t: drift(t)["volumes"][0].update(persistentVolumeClaim=CLAIM)),
    ("references", "ServiceAccount/x,", lambda t: serve(t).update(serviceAccountName="x")),
    ("references", "the key 'ARTIFACT'", lambda t: t["Deployment/mlflow"] and mlflow_key(t).update(key="ARTIFACT")),
    ("references", "mounts volumes", lambda t: serve(t)["volumes"].pop(0)),
    (
        "references",
        "Role/omnivec-launchers,",
        lambda t: t["RoleBinding/omnivec-launcher"]["roleRef"].update(name="omnivec-launchers"),
    ),
    (
        "references",
        "ServiceAccount/admin,",
        lambda t: t["RoleBinding/omnivec-launcher"]["subjects"][0].update(name="admin"),
    ),
    ("no_secrets", "Secret/x", secret),
    ("selectors", "its own pods", lambda t: t[SERVE]["spec"]["selector"]["matchLabels"].update(x="y")),
    ("selectors", "Service/omnivec: selects no pod", lambda t: t["Service/omnivec"]["spec"]["selector"].update(x="y")),
    ("selectors", "port 'https'", lambda t: t["Service/omnivec"]["spec"]["ports"][0].update(targetPort="https")),
    (
        "selectors",
        "PodDisruptionBudget",
        lambda t: t["PodDisruptionBudget/omnivec-serve"]["spec"]["selector"]["matchLabels"].update(x="y"),
    ),
    (
        "selectors",
        "no container has the port web",
        lambda t: t["NetworkPolicy/omnivec-serve"]["spec"]["ingress"][0].update(ports=[{"port": "web"}]),
    ),
    (
        "selectors",
        "scales Deployment/x",
        lambda t: t["ScaledObject/omnivec-serve"]["spec"]["scaleTargetRef"].update(name="x"),
    ),
    (
        "selectors",
        "ServiceMonitor",
        lambda t: t["ServiceMonitor/omnivec"]["spec"]["endpoints"][0].update(port="metrics"),
    ),
    ("selectors", "two autoscalers", second_scaler),
    ("selectors", "fallback", lambda t: t["ScaledObject/omnivec-serve"]["spec"].update(fallback={"replicas": 1})),
    ("network", "no policy denies", lambda t: t.pop("NetworkPolicy/default-deny")),
    ("network", "no policy denies", lambda t: t["NetworkPolicy/default-deny"]["spec"].update(policyTypes=["Ingress"])),
    (
        "network",
        f"{NODE}: no NetworkPolicy",
        lambda t: node(t)["metadata"]["labels"].pop("app.kubernetes.io/component"),
    ),
    ("network", f"{DRIFT}: no NetworkPolicy", lambda t: t.pop("NetworkPolicy/omnivec-drift")),
    ("network", "everything through", lambda t: t["NetworkPolicy/mlflow"]["spec"]["ingress"].append({})),
    ("network", "everything through", lambda t: t["NetworkPolicy/mlflow"]["spec"]["ingress"][0].pop("from")),
    ("queues", "ResourceFlavor/omnivec-gpu, which", lambda t: t.pop("ResourceFlavor/omnivec-gpu")),
    ("queues", "ClusterQueue/omnivec, which", lambda t: t.pop("ClusterQueue/omnivec")),
    ("queues", "in their order", lambda t: quotas(t)["flavors"][0]["resources"].reverse()),
    ("queues", "in their order", lambda t: quotas(t)["flavors"][0]["resources"].pop()),
    ("queues", "need a cohortName", lambda t: quotas(t)["flavors"][0]["resources"][0].update(borrowingLimit=1)),
    (
        "queues",
        "more than one resource group",
        lambda t: t["ClusterQueue/omnivec"]["spec"]["resourceGroups"].append(quotas(t)),
    ),
    (
        "queues",
        "takes nothing from the namespace omnivec",
        lambda t: t["ClusterQueue/omnivec"]["spec"].pop("namespaceSelector"),
    ),
    ("queues", "takes nothing from", lambda t: t["LocalQueue/omnivec-training"]["metadata"].update(namespace="team-b")),
    ("rights", "wildcard", lambda t: t["Role/omnivec-launcher"]["rules"][0].update(verbs=["*"])),
    ("rights", "more rights", lambda t: t["Role/omnivec-launcher"]["rules"][0].update(resources=["secrets"])),
    ("rights", "every namespace", binding),
    ("namespaces", "has no namespace", lambda t: t["Service/mlflow"]["metadata"].pop("namespace")),
    ("namespaces", "not restricted", lambda t: t["Namespace/omnivec"]["metadata"]["labels"].clear()),
]
SETTINGS = [{"configMapRef": {"name": "omnivec-settings"}}]
CLAIM = {"claimName": "x"}


def mlflow_key(things: dict[str, Object]) -> Object:
    variables = things["Deployment/mlflow"]["spec"]["template"]["spec"]["containers"][0]["env"]
    reference: Object = variables[0]["valueFrom"]["configMapKeyRef"]
    return reference


@pytest.mark.parametrize(("rule", "said", "change"), MUTATIONS, ids=[f"{r}: {s}" for r, s, _ in MUTATIONS])
def test_each_rule_sees_what_breaks_it(rule: str, said: str, change: Change) -> None:
    things = by_name(rendered("prod"))
    before = set(check(list(things.values()), rule))
    change(things)
    new = set(check(list(things.values()), rule)) - before
    assert any(said in problem for problem in new), new


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, _, _ in MUTATIONS} == set(RULES)
