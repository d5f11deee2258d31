"""A Kubernetes cluster of two machines by their first-boot configs: kubeadm, with images that are in the OS.

Needs Kubernetes' programs, as :mod:`tests.support.kubernetes` says.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from builder.core.console import QuietConsole
from builder.core.image import read_image
from builder.core.store import Store
from builder.core.tools import Tools
from tests.boot.conftest import REPOSITORY
from tests.support.clusters import connected
from tests.support.kubernetes import (
    KUBECTL,
    PROGRAMS,
    TOKEN,
    kubectl,
    make_config,
    make_control_plane_config,
    make_keys,
    make_node_image,
    read_version,
    timed,
    wait_in,
    wait_until_ready,
)
from vm.machine import Machine

pytestmark = [pytest.mark.boot, pytest.mark.slow]

OUT = REPOSITORY / "out" / "kubernetes"
# Two pods on two machines, which do not wait five minutes for a machine that is gone.
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: page}
spec:
  replicas: 2
  selector: {matchLabels: {app: page}}
  template:
    metadata: {labels: {app: page}}
    spec:
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: {matchLabels: {app: page}}
      tolerations:
        - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
        - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
      containers:
        - {name: web, image: "localhost/web:1.0.0", imagePullPolicy: Never, ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: page}
spec: {selector: {app: page}, ports: [{port: 80, targetPort: 8080}]}
"""
# Without a certificate or a token.
ASK = "import ssl, sys, urllib.request as u; u.urlopen(sys.argv[1], context=ssl._create_unverified_context())"


@pytest.fixture(scope="module")
def nodes(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    """Control plane and worker, switched on with their configs and nothing else."""
    if not PROGRAMS:
        pytest.skip("BUILD_OS_KUBERNETES names no directory with Kubernetes' programs")
    version = read_version()
    manifest = make_node_image(store, version, OUT, {"web": "containers/web.yaml"})
    folder = tmp_path_factory.mktemp("keys")
    authority = make_keys(Tools(read_image(manifest).tools, QuietConsole()), folder)
    first = make_control_plane_config(folder, version)
    second = make_config(
        folder,
        "node-2",
        ("overlay-network", "kubernetes-worker"),
        name="node-2",
        address="10.77.0.11",
        endpoints="https://10.77.0.10:2379",
        control_plane="10.77.0.10",
        token=TOKEN,
        authority=authority,
    )
    # The worker keeps no etcd: its config says nothing of it, and a cluster of one on loopback costs little.
    with connected(OUT / "machines", store) as start:
        machines = []
        for name, config, memory in (("node-1", first, 2560), ("node-2", second, 1536)):
            machine = start(name, manifest, config=config, memory=memory, seconds=1500)
            machine.wait_firstboot()
            machine.wait_unit("basic.target")
            machines.append(machine)
        yield machines


def list_pods(machine: Machine) -> dict[str, str]:
    """Addresses of running pods by the machine that they are on."""
    columns = "custom-columns=:.spec.nodeName,:.status.podIP,:.status.phase,:.metadata.deletionTimestamp"
    lines = kubectl(machine, f"get pods -l app=page --no-headers -o {columns}").splitlines()
    return {word[0]: word[1] for word in map(str.split, lines) if word[2:] == ["Running", "<none>"]}


def test_two_configs_make_a_cluster(nodes: list[Machine]) -> None:
    first, second = nodes
    for number, machine in enumerate(nodes, 1):
        wait_until_ready(first, f"node-{number}")
        print(f"  {machine.timeline.seconds:.0f} s after it was switched on, {machine.cpu_seconds():.0f} CPU s")
    # Nobody is let in without a name, on neither side, and who has one is asked for the right.
    for url in (
        "https://10.77.0.10:10250/pods",
        "https://10.77.0.11:10250/pods",
        "https://10.77.0.10:6443/api/v1/nodes",
    ):
        refused = second.run("python3", "-c", ASK, url)
        assert "HTTP Error 40" in refused.stderr, url
    asked = second.run("sh", "-c", "kubectl --kubeconfig=/etc/kubernetes/kubelet.conf get secrets --all-namespaces")
    assert "Forbidden" in asked.stderr
    assert "AlwaysAllow" not in first.succeed("cat /etc/kubernetes/manifests/kube-apiserver.yaml")
    # Nothing was pulled: all images are the OS's own.
    images = first.succeed("sh", "-c", f"{KUBECTL} kubectl get pods -A -o jsonpath='{{..image}}'").split()
    assert images
    assert all(image.startswith(("localhost/", "sha256:")) for image in images), images


def test_pods_on_both_machines_reach_each_other(nodes: list[Machine]) -> None:
    first, _second = nodes
    first.write("/run/page.yaml", DEPLOYMENT)
    with timed("two pods are made, on two machines"):
        kubectl(first, "apply -f /run/page.yaml")
        wait_in(first, "kubectl rollout status deployment/page --timeout=60s")
    pods = list_pods(first)
    assert set(pods) == {"node-1", "node-2"}
    name = "get pods -l app=page -o jsonpath='{.items[?(@.spec.nodeName==\"%s\")].metadata.name}'"
    service = kubectl(first, "get service page -o jsonpath='{.spec.clusterIP}'")
    for here, there in (("node-1", "node-2"), ("node-2", "node-1")):
        pod = kubectl(first, name % here)
        for url in (f"http://{pods[there]}:8080/", f"http://{service}/"):
            assert "<html" in kubectl(first, f"exec {pod} -- /usr/bin/busybox wget -q -O - {url}").lower(), (here, url)


def test_a_machine_is_lost_and_its_pods_are_started_elsewhere(nodes: list[Machine]) -> None:
    first, second = nodes
    with timed("from two pods to four"):
        kubectl(first, "scale deployment/page --replicas=4")
        wait_in(first, "kubectl rollout status deployment/page --timeout=60s")
    second.unplug()
    with timed("the lost machine is known to be lost"):
        wait_in(first, "kubectl get node node-2 --no-headers | grep -qw NotReady")
    on_first = "kubectl get pods -l app=page --field-selector=spec.nodeName=node-1,status.phase=Running --no-headers"
    with timed("then all four pods run on the one that is left"):
        wait_in(first, f"test $({on_first} | wc -l) = 4")
    wait_in(first, "kubectl get deployment page --no-headers | grep -qw 4/4")
