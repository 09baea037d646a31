"""``omnivec doctor --cluster``: is the cluster ready for a recipe, and if not, what to do.

What one may not look at is said and passes: a person with a profile sees neither nodes nor the rights of others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.access import Access, ClusterError, connect
from pipelines.commands.doctor import Check
from pipelines.commands.doctor_nodes import nodes
from pipelines.commands.doctor_queue import HIDDEN, queue
from pipelines.config import RunConfig
from pipelines.kube import call, get

KUBERNETES = (1, 30)
KFP = (2, 16)
RUNTIMES = {"omnivec-torch": "-f infra/runtimes/omnivec-torch.yaml", "omnivec-torch-gpu": "-k infra/base/gpu-runtime"}
TRAINER = "trainer.kubeflow.org"


@dataclass(frozen=True)
class Api:
    """A group of the Kubernetes API that something here uses."""

    name: str
    group: str
    versions: tuple[str, ...]
    resource: str
    needed: bool
    next: str


def examine_cluster(api: Any, config: RunConfig, access: Access | None, namespace: str) -> Iterator[Check]:
    """Yield every check of a cluster for a recipe.

    Args:
        api: client of the Kubernetes API.
        config: the recipe, with its cluster section.
        access: to Kubeflow Pipelines; None when no address is known.
        namespace: of the runs.
    """
    version = _version(api)
    yield version
    if not version.ok:
        return
    yield from (_api(api, wanted) for wanted in apis(config))
    yield _pipelines(access)
    yield _namespace(api, config, namespace)
    yield from _objects(api, config, namespace)
    yield from _storage(api, config, namespace)
    if config.launch.backend == "trainjob":
        yield _runtime(api, config, namespace)
    if config.cluster.queue:
        yield from queue(api, config, namespace)
    yield from nodes(api, config)
    yield from _rights(api, config, namespace)


def apis(config: RunConfig) -> list[Api]:
    """Groups of the API that a recipe needs, and those that the service can use."""
    several = config.launch.backend == "trainjob"
    queued = config.cluster.queue is not None
    trainer = "install Kubeflow Trainer 2.2 or later, or set launch.backend=local"
    return [
        Api("workflows", "argoproj.io", ("v1alpha1",), "workflows", True, "install Kubeflow Pipelines 2.16 or later"),
        Api("trainjobs", TRAINER, ("v1alpha1",), "trainjobs", several, trainer),
        Api("jobsets", "jobset.x-k8s.io", ("v1alpha2",), "jobsets", several, f"{trainer}; it brings JobSet"),
        Api(
            "kueue",
            "kueue.x-k8s.io",
            ("v1beta2", "v1beta1"),
            "localqueues",
            queued,
            "install Kueue, or leave cluster.queue empty",
        ),
        Api("monitors", "monitoring.coreos.com", ("v1",), "servicemonitors", False, "dashboards need it"),
        Api("keda", "keda.sh", ("v1alpha1",), "scaledobjects", False, "scaling by queue length needs it"),
    ]


def _version(api: Any) -> Check:
    status, found = get(api, "/version")
    if status != 200 or not isinstance(found, dict):
        way_out = "is the cluster up, and KUBECONFIG or --context right? 'kubectl cluster-info' asks the same"
        return Check("kubernetes", False, f"no answer (HTTP {status}): {found}", way_out)
    minor = int("".join(filter(str.isdigit, str(found.get("minor", "0")))) or 0)
    fresh = (int(found.get("major", 1)), minor) >= KUBERNETES
    return Check("kubernetes", fresh, str(found.get("gitVersion")), f"{KUBERNETES[0]}.{KUBERNETES[1]} or later")


def _api(api: Any, wanted: Api) -> Check:
    status, found = get(api, f"/apis/{wanted.group}")
    if status == 404:
        said = f"{wanted.group} is not installed"
        if wanted.needed:
            return Check(wanted.name, False, said, wanted.next)
        return Check(wanted.name, True, f"{said} (not needed by this recipe)")
    if status != 200:
        return Check(wanted.name, not wanted.needed, f"{wanted.group}: HTTP {status} {found}", wanted.next)
    served = [entry["version"] for entry in found.get("versions", [])]
    usable = next((version for version in wanted.versions if version in served), None)
    if usable is None:
        said = f"{wanted.group} serves {', '.join(served)}, not {' or '.join(wanted.versions)}"
        return Check(wanted.name, not wanted.needed, said, f"another version: {wanted.next}")
    _, listed = get(api, f"/apis/{wanted.group}/{usable}")
    resources = [entry["name"] for entry in listed.get("resources", [])] if isinstance(listed, dict) else []
    there = wanted.resource in resources
    return Check(wanted.name, there or not wanted.needed, f"{wanted.group}/{usable} {wanted.resource}", wanted.next)


def _pipelines(access: Access | None) -> Check:
    if access is None:
        return Check("pipelines", True, "not asked: no --host, and this is no pod")
    try:
        health = connect(access).health
    except ClusterError as error:
        first, _, rest = str(error).partition("\n")
        return Check("pipelines", False, first, rest or "see docs/guides/operate.md")
    users = "several users" if health.get("multi_user") or health.get("apiServerMultiUser") else "a single user"
    tag = str(health.get("apiServerTagName") or health.get("tag_name") or "")
    numbers = tuple(int(part) for part in tag.split("-", maxsplit=1)[0].split(".")[:2] if part.isdigit())
    old = len(numbers) == 2 and numbers < KFP
    said = f"{access.host}, {users}, {'version ' + tag if tag else 'which does not tell its version'}"
    return Check("pipelines", not old, said, f"upgrade to {KFP[0]}.{KFP[1]} or later (docs/guides/operate.md)")


def _namespace(api: Any, config: RunConfig, namespace: str) -> Check:
    status, found = get(api, f"/api/v1/namespaces/{namespace}")
    if status == 404:
        way_out = "make a profile of that name in Kubeflow, or give another by --namespace or cluster.namespace"
        return Check("namespace", False, f"there is no {namespace!r}", way_out)
    if status != 200:
        return Check("namespace", True, f"{namespace}: {HIDDEN}")
    labels = found["metadata"].get("labels") or {}
    level = labels.get("pod-security.kubernetes.io/enforce", "privileged")
    rooted = level == "restricted" and config.cluster.security is None
    way_out = "set cluster.security: {run_as_user: 1000}; the level 'restricted' lets in nobody who may be root"
    return Check("namespace", not rooted, f"{namespace}, pod security {level}", way_out)


def _objects(api: Any, config: RunConfig, namespace: str) -> Iterator[Check]:
    """Secrets, ConfigMaps and ServiceAccounts that the recipe names."""
    cluster = config.cluster
    base = f"/api/v1/namespaces/{namespace}"
    for kind, wanted in cluster.claims().items():
        for name, keys in wanted.items():
            made = "generic " if kind == "Secret" else ""
            values = " ".join(f"--from-literal={key}=..." for key in keys)
            way_out = f"kubectl create -n {namespace} {kind.lower()} {made}{name} {values}".rstrip()
            status, found = get(api, f"{base}/{kind.lower()}s/{name}")
            lacking = sorted(set(keys) - set(found.get("data") or {})) if status == 200 else []
            said = f"{name}: {HIDDEN}" if status == 403 else f"{name}: {'there' if status == 200 else found}"
            said += f", without {', '.join(lacking)}" if lacking else ""
            yield Check(kind.lower(), status in (200, 403) and not lacking, said, way_out)
    for name in cluster.pull_secrets:
        status, found = get(api, f"{base}/secrets/{name}")
        right = status == 403 or (status == 200 and found.get("type") == "kubernetes.io/dockerconfigjson")
        said = HIDDEN if status == 403 else f"type {found.get('type')}" if status == 200 else str(found)
        way_out = (
            f"kubectl create -n {namespace} secret docker-registry {name} --docker-server=... --docker-username=..."
        )
        yield Check("pull secret", right, f"{name}: {said}", way_out)
    if cluster.service_account:
        status, found = get(api, f"{base}/serviceaccounts/{cluster.service_account}")
        said = HIDDEN if status == 403 else "there" if status == 200 else str(found)
        way_out = f"kubectl create -n {namespace} serviceaccount {cluster.service_account}"
        yield Check("account", status in (200, 403), f"{cluster.service_account}: {said}", way_out)


def _storage(api: Any, config: RunConfig, namespace: str) -> Iterator[Check]:
    status, listed = get(api, "/apis/storage.k8s.io/v1/storageclasses")
    classes = [entry["metadata"]["name"] for entry in listed.get("items", [])] if status == 200 else []
    if classes:
        yield Check("storage", True, f"classes {', '.join(classes)}")
    several = config.launch.backend == "trainjob" and config.launch.nodes > 1
    claims = {config.cluster.home_claim} if config.cluster.home_claim else set()
    if config.launch.backend == "trainjob" and "claim" in config.launch.trainjob.model_fields_set:
        claims.add(config.launch.trainjob.claim)
    for name in sorted(claims):
        yield _claim(api, name, namespace, several=several, classes=classes)


def _claim(api: Any, name: str, namespace: str, *, several: bool, classes: list[str]) -> Check:
    status, found = get(api, f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
    choice = f" (storage classes: {', '.join(classes)})" if classes else ""
    if status == 403:
        return Check("claim", True, f"{name}: {HIDDEN}")
    if status != 200:
        way_out = f"make a PersistentVolumeClaim {name!r} in {namespace}, ReadWriteMany{choice}: docs/guides/cluster.md"
        return Check("claim", False, f"{name}: {found}", way_out)
    modes, phase = found["spec"].get("accessModes") or [], (found.get("status") or {}).get("phase")
    said = f"{name}: {phase}, {', '.join(modes)}"
    if "ReadWriteMany" not in modes:
        way_out = f"several nodes read and write it: make it ReadWriteMany, on a class that can{choice}"
        note = "" if several else "; steps that run at the same time have to fit on one node"
        return Check("claim", not several, said + note, way_out)
    waiting = phase == "Pending" and found["spec"].get("storageClassName") is not None
    way_out = f"'kubectl describe -n {namespace} pvc {name}' says why it is not bound{choice}"
    return Check("claim", phase == "Bound" or waiting, said + (" until its first pod" if waiting else ""), way_out)


def _runtime(api: Any, config: RunConfig, namespace: str) -> Check:
    name = config.launch.trainjob.runtime
    base = f"/apis/{TRAINER}/v1alpha1"
    own = get(api, f"{base}/namespaces/{namespace}/trainingruntimes/{name}")
    status, found = own if own[0] == 200 else get(api, f"{base}/clustertrainingruntimes/{name}")
    said = HIDDEN if status == 403 else "there" if status == 200 else str(found)
    ours = [f"kubectl apply {source}" for runtime, source in RUNTIMES.items() if runtime == name]
    way_out = ours[0] if ours else f"install it, or set launch.trainjob.runtime to one of ours: {', '.join(RUNTIMES)}"
    return Check("runtime", status in (200, 403), f"{name}: {said}", way_out)


def _rights(api: Any, config: RunConfig, namespace: str) -> Iterator[Check]:
    """What the person who asks needs, and where it can be told what the account of the launcher needs."""
    runs = [("pipelines.kubeflow.org", "runs", verb) for verb in ("create", "get", "list", "terminate")]
    yield _may(api, "submit", namespace, runs, None, "the owner of the profile makes you a contributor (kubeflow-edit)")
    logs = [("", "pods", "list"), ("", "pods/log", "get")]
    yield _may(api, "logs", namespace, logs, None, "needed by 'omnivec logs' only: the ClusterRole view has it")
    if config.launch.backend == "trainjob":
        account = config.cluster.service_account or "default-editor"
        launcher = [(TRAINER, "trainjobs", verb) for verb in ("create", "get", "delete")] + logs
        way_out = f"kubectl apply -n {namespace} -f infra/runtimes/launcher-rbac.yaml, its subject {account!r}"
        yield _may(api, "launcher", namespace, launcher, f"system:serviceaccount:{namespace}:{account}", way_out)


def _may(
    api: Any, name: str, namespace: str, wanted: list[tuple[str, str, str]], user: str | None, way_out: str
) -> Check:
    kind = "SelfSubjectAccessReview" if user is None else "SubjectAccessReview"
    denied = []
    for group, whole, verb in wanted:
        resource, _, sub = whole.partition("/")
        attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": sub}
        spec: dict[str, Any] = {"resourceAttributes": attributes} | ({"user": user} if user else {})
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
        status, found = call(api, "POST", f"/apis/authorization.k8s.io/v1/{kind.lower()}s", body=body)
        if status not in (200, 201):
            return Check(name, True, f"rights of {user or 'yours'}: {HIDDEN}")
        if not found["status"].get("allowed"):
            denied.append(f"{verb} {whole}")
    said = f"{user or 'you'} may not {', '.join(denied)}" if denied else f"{user or 'you'}: all that is needed"
    return Check(name, not denied, said, way_out)
