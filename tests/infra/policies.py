"""What every manifest here has to satisfy, as one function for each rule: objects in, problems out.

Also a command, for an overlay of one's own: `kubectl kustomize FOLDER | python -m tests.infra.policies`. It prints what
is wrong, and exits with 1 when anything is.
"""

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

Object = dict[str, Any]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a tenth of the time, where PyYAML has it
PLACEHOLDER = "sha256:" + "0" * 64
# Made by hand or by the site's own tools; docs/guides/install.md says how.
SITE_SECRETS = frozenset(
    {"omnivec-keys", "omnivec-metrics-key", "omnivec-object-store", "omnivec-mlflow", "omnivec-database"}
)
SITE_ACCOUNTS = frozenset({"default-editor"})  # a Kubeflow Profile makes it
PROBED = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
NATIVE_KINDS = re.compile(
    r"^(v1|apps/v1|batch/v1|policy/v1|autoscaling/v2|networking\.k8s\.io/v1|rbac\.authorization\.k8s\.io/v1)$"
)


@dataclass(frozen=True)
class Pods:
    """A pod template and where it stands."""

    owner: str
    kind: str
    namespace: str | None
    labels: dict[str, str]
    spec: Object

    def containers(self) -> Iterator[tuple[str, Object, bool]]:
        """Name, container, and whether it is one that runs once or beside the others."""
        for key in ("initContainers", "containers"):
            for container in self.spec.get(key, ()):
                yield f"{self.owner}: container {container['name']}", container, key == "initContainers"


def name_of(thing: Object) -> str:
    """``Kind/name``."""
    return f"{thing['kind']}/{thing['metadata']['name']}"


def pods_of(objects: list[Object]) -> list[Pods]:
    """Every pod template, those inside runtimes of Kubeflow Trainer included."""
    found = []
    for thing in objects:
        kind, spec = thing["kind"], thing.get("spec", {})
        if kind in PROBED | {"Job"}:
            templates = [spec["template"]]
        elif kind == "CronJob":
            templates = [spec["jobTemplate"]["spec"]["template"]]
        elif kind in ("ClusterTrainingRuntime", "TrainingRuntime"):
            templates = [job["template"]["spec"]["template"] for job in spec["template"]["spec"]["replicatedJobs"]]
        else:
            continue
        space = thing["metadata"].get("namespace")
        found += [
            Pods(name_of(thing), kind, space, template.get("metadata", {}).get("labels", {}), template["spec"])
            for template in templates
        ]
    return found


def not_root(objects: list[Object]) -> Iterator[str]:
    """The restricted profile of Kubernetes, with a read-only root file system."""
    for pods in pods_of(objects):
        pod = pods.spec.get("securityContext", {})
        if pod.get("runAsNonRoot") is not True or not pod.get("runAsUser"):
            yield f"{pods.owner}: securityContext needs runAsNonRoot: true and a runAsUser that is not 0"
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{pods.owner}: securityContext needs seccompProfile RuntimeDefault"
        for shared in ("hostNetwork", "hostPID", "hostIPC"):
            if pods.spec.get(shared):
                yield f"{pods.owner}: {shared} opens the node to the pod"
        if any("hostPath" in volume for volume in pods.spec.get("volumes", ())):
            yield f"{pods.owner}: hostPath opens the node to the pod"
        for where, container, _ in pods.containers():
            own = container.get("securityContext", {})
            if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
                yield f"{where}: needs allowPrivilegeEscalation: false, and must not be privileged"
            if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
                yield f"{where}: has to drop ALL capabilities and add none"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{where}: needs readOnlyRootFilesystem: true, and emptyDir where it writes"
            if own.get("runAsUser") == 0 or own.get("runAsNonRoot") is False:
                yield f"{where}: runs as root"


def resources(objects: list[Object]) -> Iterator[str]:
    """Requests and limits of processors and memory."""
    for pods in pods_of(objects):
        for where, container, _ in pods.containers():
            given = container.get("resources", {})
            for side in ("requests", "limits"):
                if missing := [r for r in ("cpu", "memory") if r not in given.get(side, {})]:
                    yield f"{where}: resources.{side} lacks {', '.join(missing)}"
        for volume in pods.spec.get("volumes", ()):
            if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
                yield f"{pods.owner}: emptyDir {volume['name']} needs a sizeLimit, or it can fill the node's disk"


def probes(objects: list[Object]) -> Iterator[str]:
    """What runs for ever is probed, and given the time to end."""
    for pods in pods_of(objects):
        if pods.kind not in PROBED:
            continue
        for where, container, initial in pods.containers():
            if initial and container.get("restartPolicy") != "Always":
                continue  # it ends, and Kubernetes takes no probe for it
            wanted = ("startupProbe",) if initial else ("startupProbe", "readinessProbe", "livenessProbe")
            if missing := [probe for probe in wanted if probe not in container]:
                yield f"{where}: has no {', '.join(missing)}"
            wait = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            if wait >= pods.spec.get("terminationGracePeriodSeconds", 30):
                yield f"{where}: preStop takes all of terminationGracePeriodSeconds"


def images(objects: list[Object]) -> Iterator[str]:
    """No image that can change under its name without anybody's word."""
    for pods in pods_of(objects):
        for where, container, _ in pods.containers():
            image = container["image"]
            name, _, digest = image.partition("@")
            tag = name.rpartition("/")[2].partition(":")[2]
            if PLACEHOLDER in image:
                yield f"{where}: image {name} has a placeholder for its digest: kustomize edit set image"
            elif not digest and tag in ("", "latest"):
                yield f"{where}: image {image} needs a digest or a tag that is not latest"


def digests(objects: list[Object]) -> Iterator[str]:
    """Images by digest; for production."""
    for pods in pods_of(objects):
        for where, container, _ in pods.containers():
            if not re.search(r"@sha256:[0-9a-f]{64}$", container["image"]):
                yield f"{where}: image {container['image']} needs a digest"


def tokens(objects: list[Object]) -> Iterator[str]:
    """Nobody holds a token of the cluster without need."""
    for thing in objects:
        if thing["kind"] == "ServiceAccount" and thing.get("automountServiceAccountToken") is not False:
            yield f"{name_of(thing)}: needs automountServiceAccountToken: false"
    for pods in pods_of(objects):
        if pods.spec.get("automountServiceAccountToken") is not False:
            yield f"{pods.owner}: needs automountServiceAccountToken: false"


def references(objects: list[Object]) -> Iterator[str]:
    """What is named exists, or is known to come from the site."""
    there = {(thing["kind"], thing["metadata"]["name"]) for thing in objects}
    data = {t["metadata"]["name"]: t.get("data", {}) for t in objects if t["kind"] == "ConfigMap"}

    def known(kind: str, name: str) -> bool:
        return (kind, name) in there or (kind == "Secret" and name in SITE_SECRETS)

    for pods in pods_of(objects):
        for kind, name, key in _named(pods):
            if not known(kind, name):
                yield f"{pods.owner}: names {kind}/{name}, which is not here"
            elif kind == "ConfigMap" and key and key not in data[name]:
                yield f"{pods.owner}: names the key {key!r} that ConfigMap/{name} does not have"
        volumes = {volume["name"] for volume in pods.spec.get("volumes", ())}
        for where, container, _ in pods.containers():
            if lost := [m["name"] for m in container.get("volumeMounts", ()) if m["name"] not in volumes]:
                yield f"{where}: mounts volumes that the pod does not have: {', '.join(lost)}"
    for thing in objects:
        if thing["kind"] in ("RoleBinding", "ClusterRoleBinding"):
            role = thing["roleRef"]["kind"], thing["roleRef"]["name"]
            if role not in there:
                yield f"{name_of(thing)}: names {'/'.join(role)}, which is not here"
            for subject in thing["subjects"]:
                if not known("ServiceAccount", subject["name"]) and subject["name"] not in SITE_ACCOUNTS:
                    yield f"{name_of(thing)}: names ServiceAccount/{subject['name']}, which is not here"


def _named(pods: Pods) -> Iterator[tuple[str, str, str | None]]:
    """Kind, name and key of what a pod cannot start without."""
    if account := pods.spec.get("serviceAccountName"):
        yield "ServiceAccount", account, None
    for volume in pods.spec.get("volumes", ()):
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], None
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], None
    for _, container, _ in pods.containers():
        for source in container.get("envFrom", ()):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if field in source:
                    yield kind, source[field]["name"], None
        for variable in container.get("env", ()):
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if chosen := variable.get("valueFrom", {}).get(field):
                    yield kind, chosen["name"], None if chosen.get("optional") else chosen["key"]


def no_secrets(objects: list[Object]) -> Iterator[str]:
    """Secrets are named, never held."""
    for thing in objects:
        if thing["kind"] == "Secret":
            yield f"{name_of(thing)}: a secret has no place among manifests; name one that the site makes"


def selectors(objects: list[Object]) -> Iterator[str]:
    """Selectors select, ports exist, and scalers have something to scale."""
    pods = pods_of(objects)
    ports = {p.get("name") for pod in pods for _, c, _ in pod.containers() for p in c.get("ports", ())}
    services = [thing for thing in objects if thing["kind"] == "Service"]
    for thing in objects:
        kind, spec = thing["kind"], thing.get("spec", {})
        if kind in PROBED:
            chosen = spec["selector"]["matchLabels"]
            if not _covers(chosen, spec["template"]["metadata"]["labels"]):
                yield f"{name_of(thing)}: its selector {chosen} does not select its own pods"
        if kind == "Service":
            found = [pod for pod in pods if _covers(spec["selector"], pod.labels)]
            if not found:
                yield f"{name_of(thing)}: selects no pod"
            own = {p["name"] for pod in found for _, c, _ in pod.containers() for p in c.get("ports", ())}
            for port in spec["ports"]:
                if port["targetPort"] not in own:
                    yield f"{name_of(thing)}: no container has the port {port['targetPort']!r}"
        if kind == "PodDisruptionBudget" and not any(_covers(spec["selector"]["matchLabels"], p.labels) for p in pods):
            yield f"{name_of(thing)}: selects no pod"
        if kind == "NetworkPolicy":
            named = {p["port"] for rule in spec.get("ingress", ()) for p in rule.get("ports", ()) if "port" in p}
            if lost := {port for port in named if isinstance(port, str)} - ports:
                yield f"{name_of(thing)}: no container has the port {', '.join(lost)}"
        if kind in ("HorizontalPodAutoscaler", "ScaledObject"):
            target = spec["scaleTargetRef"]
            if not any(t["kind"] == target["kind"] and t["metadata"]["name"] == target["name"] for t in objects):
                yield f"{name_of(thing)}: scales {target['kind']}/{target['name']}, which is not here"
        if kind == "ServiceMonitor":
            found = [s for s in services if _covers(spec["selector"]["matchLabels"], s["metadata"].get("labels", {}))]
            served = {port["name"] for service in found for port in service["spec"]["ports"]}
            if lost := {endpoint["port"] for endpoint in spec["endpoints"]} - served:
                yield f"{name_of(thing)}: no Service that it selects has the port {', '.join(lost)}"
    yield from _two_scalers(objects)


def _two_scalers(objects: list[Object]) -> Iterator[str]:
    scaled = [
        t["spec"]["scaleTargetRef"]["name"] for t in objects if t["kind"] in ("HorizontalPodAutoscaler", "ScaledObject")
    ]
    for name in {name for name in scaled if scaled.count(name) > 1}:
        yield f"{name}: two autoscalers pull at it"
    for thing in objects:
        kinds = [trigger["type"] for trigger in thing.get("spec", {}).get("triggers", ())]
        if thing["kind"] == "ScaledObject" and "fallback" in thing["spec"] and {"cpu", "memory"} & set(kinds):
            yield f"{name_of(thing)}: KEDA refuses fallback beside a trigger on cpu or memory"


def network(objects: list[Object]) -> Iterator[str]:
    """Each pod is closed by default and has a policy that says what it may."""
    policies = [thing for thing in objects if thing["kind"] == "NetworkPolicy"]
    closed = {
        p["metadata"].get("namespace")
        for p in policies
        if p["spec"]["podSelector"] == {}
        and set(p["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not p["spec"].get("ingress")
        and not p["spec"].get("egress")
    }
    spaces = {thing["metadata"]["name"] for thing in objects if thing["kind"] == "Namespace"}
    for space in spaces - closed:
        yield f"Namespace/{space}: no policy denies what is not allowed"
    for pods in pods_of(objects):
        own = [
            p
            for p in policies
            if p["spec"]["podSelector"] and _covers_expression(p["spec"]["podSelector"], pods.labels)
        ]
        if not own:
            yield f"{pods.owner}: no NetworkPolicy says what it may"
    for policy in policies:
        for side, rules in (("ingress", policy["spec"].get("ingress")), ("egress", policy["spec"].get("egress"))):
            if any(not rule for rule in rules or ()) or (
                side == "ingress" and any(not r.get("from") for r in rules or ())
            ):
                yield f"{name_of(policy)}: an {side} rule lets everything through"


def queues(objects: list[Object]) -> Iterator[str]:
    """What Kueue's webhooks and CEL rules refuse, and what leaves every job waiting without a word."""
    by_kind: dict[str, dict[str, Object]] = {}
    for thing in objects:
        by_kind.setdefault(thing["kind"], {})[thing["metadata"]["name"]] = thing
    for queue in by_kind.get("ClusterQueue", {}).values():
        where, spec = name_of(queue), queue["spec"]
        covered = [name for group in spec.get("resourceGroups", ()) for name in group["coveredResources"]]
        if twice := {name for name in covered if covered.count(name) > 1}:
            yield f"{where}: {', '.join(sorted(twice))} stands in more than one resource group"
        for group in spec.get("resourceGroups", ()):
            for flavor in group["flavors"]:
                if flavor["name"] not in by_kind.get("ResourceFlavor", {}):
                    yield f"{where}: names ResourceFlavor/{flavor['name']}, which is not here, so it admits nothing"
                if [one["name"] for one in flavor["resources"]] != group["coveredResources"]:
                    yield f"{where}: the resources of {flavor['name']} are not coveredResources in their order"
                limits = [one for one in flavor["resources"] if {"borrowingLimit", "lendingLimit"} & set(one)]
                if limits and "cohortName" not in spec:
                    yield f"{where}: borrowingLimit and lendingLimit need a cohortName"
    for local in by_kind.get("LocalQueue", {}).values():
        space, behind = local["metadata"].get("namespace"), local["spec"].get("clusterQueue")
        found = by_kind.get("ClusterQueue", {}).get(behind)
        if found is None:
            yield f"{name_of(local)}: names ClusterQueue/{behind}, which is not here"
            continue
        labels = by_kind.get("Namespace", {}).get(space, {}).get("metadata", {}).get("labels", {})
        chosen = found["spec"].get("namespaceSelector")  # nothing is left out: no namespace
        if chosen is None or not _covers_expression(chosen, {**labels, "kubernetes.io/metadata.name": space}):
            yield f"{name_of(local)}: ClusterQueue/{behind} takes nothing from the namespace {space}"


def rights(objects: list[Object]) -> Iterator[str]:
    """No wildcards, no secrets, nothing that leads to more rights, no binding to a role of the cluster."""
    for thing in objects:
        if thing["kind"] in ("Role", "ClusterRole"):
            for rule in thing.get("rules") or ():
                if "*" in [*rule.get("apiGroups", ()), *rule.get("resources", ()), *rule["verbs"]]:
                    yield f"{name_of(thing)}: a wildcard grants what nobody thought of"
                if "secrets" in rule.get("resources", ()) or {"escalate", "bind", "impersonate"} & set(rule["verbs"]):
                    yield f"{name_of(thing)}: {rule} leads to more rights"
        if thing["kind"] == "ClusterRoleBinding":
            yield f"{name_of(thing)}: grants its role in every namespace"


def namespaces(objects: list[Object]) -> Iterator[str]:
    """Namespaced objects say where they belong; the namespace itself enforces the restricted profile."""
    for thing in objects:
        plain = NATIVE_KINDS.match(thing["apiVersion"]) and thing["kind"] not in ("Namespace", "ClusterRole")
        if plain and not thing["metadata"].get("namespace"):
            yield f"{name_of(thing)}: has no namespace, and would go wherever kubectl stands"
        if thing["kind"] == "Namespace":
            level = thing["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
            if level != "restricted":
                yield f"{name_of(thing)}: pod-security.kubernetes.io/enforce is {level}, not restricted"


RULES: dict[str, Callable[[list[Object]], Iterator[str]]] = {
    rule.__name__: rule
    for rule in (
        not_root,
        resources,
        probes,
        images,
        tokens,
        references,
        no_secrets,
        selectors,
        network,
        queues,
        rights,
        namespaces,
    )
}


def check(objects: list[Object], *rules: str) -> list[str]:
    """Problems of all rules, or of those that are named."""
    return [problem for name in rules or RULES for problem in RULES[name](objects)]


def load(text: str) -> list[Object]:
    """The objects of a render."""
    return [thing for thing in yaml.load_all(text, Loader=LOADER) if thing]


def _covers(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def _covers_expression(selector: Object, labels: dict[str, str]) -> bool:
    exist = all(e["key"] in labels for e in selector.get("matchExpressions", ()))
    return exist and _covers(selector.get("matchLabels", {}), labels)


if __name__ == "__main__":
    given = load(sys.stdin.read())
    problems = [*check(given), *digests(given)]
    print(*problems or [f"{len(given)} objects, nothing to say against them"], sep="\n")
    sys.exit(1 if problems else 0)
