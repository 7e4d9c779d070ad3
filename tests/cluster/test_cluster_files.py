"""The cluster's files fit together, fit the project, and fit KubeRay.

$KUBERAY_RAYJOB_CRD names KubeRay's CRD of RayJob: ray-operator/config/crd/bases/ray.io_rayjobs.yaml of a release.
"""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ocrbatch import config

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "cluster/docker/Dockerfile.cpu"
RAYJOB = ROOT / "cluster/kuberay/rayjob.yaml"
CONFIG_MAP, RAY_JOB = yaml.safe_load_all(RAYJOB.read_text(encoding="utf8"))
CLUSTER = RAY_JOB["spec"]["rayClusterSpec"]


def pod_specs() -> dict[str, dict[str, Any]]:
    groups = {group["groupName"]: group["template"]["spec"] for group in CLUSTER["workerGroupSpecs"]}
    head, submitter = CLUSTER["headGroupSpec"]["template"]["spec"], RAY_JOB["spec"]["submitterPodTemplate"]["spec"]
    return {"head": head, "submitter": submitter, **groups}


@pytest.fixture(scope="module")
def rayjob_schema() -> dict[str, Any]:
    path = os.environ.get("KUBERAY_RAYJOB_CRD")
    if path is None:
        pytest.skip("set KUBERAY_RAYJOB_CRD to KubeRay's ray.io_rayjobs.yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    crd = yaml.load(Path(path).read_text(encoding="utf8"), loader)
    (version,) = (v for v in crd["spec"]["versions"] if v["name"] == "v1")
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def strict(node: Any) -> Any:
    """The schema with unknown keys refused: Kubernetes drops them in silence."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: strict(value) for key, value in node.items()}
    closed = isinstance(out.get("properties"), dict) and out.get("type") == "object"
    if closed and not out.get("x-kubernetes-preserve-unknown-fields"):
        out.setdefault("additionalProperties", False)
    return out


def test_the_rayjob_fits_kuberays_schema(rayjob_schema: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(rayjob_schema)
    errors = [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(RAY_JOB)]
    assert errors == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "backoffLimit"), "two"),
        (("spec", "shutdownAfterJobFinish"), True),  # a key that does not exist
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "minReplica"), 1),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "resources", "limit"), {}),
    ],
)
def test_the_schema_refuses_what_is_wrong(rayjob_schema: dict[str, Any], path: tuple[Any, ...], value: object) -> None:
    wrong = copy.deepcopy(RAY_JOB)
    node = wrong
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    assert not jsonschema.Draft202012Validator(rayjob_schema).is_valid(wrong)


def test_the_config_that_is_mounted_is_a_job() -> None:
    job = config.load(CONFIG_MAP["data"]["job.yaml"])
    assert job.input.uris
    assert job.output.uri
    head = pod_specs()["head"]
    (volume,) = (v for v in head["volumes"] if v.get("configMap", {}).get("name") == CONFIG_MAP["metadata"]["name"])
    (mount,) = (m for m in head["containers"][0]["volumeMounts"] if m["name"] == volume["name"])
    assert f"{mount['mountPath']}/job.yaml" in RAY_JOB["spec"]["entrypoint"].split()


def test_the_entrypoint_is_in_the_image() -> None:
    program = RAY_JOB["spec"]["entrypoint"].split()[1]
    copied = dict(re.findall(r"^COPY (\w+) (/app/\w+)$", DOCKERFILE.read_text(), re.MULTILINE))
    (source,) = (src for src, target in copied.items() if program.startswith(target + "/"))
    assert (ROOT / source / Path(program).name).is_file()


def test_the_head_runs_no_work_and_the_workers_scale() -> None:
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert CLUSTER["enableInTreeAutoscaling"] is True
    for group in CLUSTER["workerGroupSpecs"]:
        assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert RAY_JOB["spec"]["shutdownAfterJobFinishes"] is True
    assert RAY_JOB["spec"]["backoffLimit"] > 0


def test_every_pod_has_the_one_image_limits_and_no_privileges() -> None:
    images = set()
    for name, spec in pod_specs().items():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        for container in spec["containers"]:
            images.add(container["image"])
            assert container["resources"]["limits"]["memory"], name
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
    assert len(images) == 1


def test_no_secret_stands_in_the_files() -> None:
    for name, spec in pod_specs().items():
        for container in spec["containers"]:
            assert not [
                e for e in container.get("env", []) if "value" in e and re.search("KEY|SECRET|TOKEN", e["name"])
            ], name
    assert {"head", "cpu"} <= {name for name, spec in pod_specs().items() if spec["containers"][0].get("envFrom")}


def test_the_ray_version_is_one_that_the_project_allows() -> None:
    from packaging.requirements import Requirement

    text = (ROOT / "pyproject.toml").read_text(encoding="utf8")
    (ray,) = (Requirement(r) for r in re.findall(r'^\s*"(ray\[[^"]+)"', text, re.MULTILINE))
    assert ray.specifier.contains(CLUSTER["rayVersion"])


def test_the_image_has_the_ray_that_kuberay_is_told_of() -> None:
    text = DOCKERFILE.read_text(encoding="utf8")
    assert re.findall(r"^ARG RAY_VERSION=(.+)$", text, re.MULTILINE) == [CLUSTER["rayVersion"]]
    assert '"ray==${RAY_VERSION}"' in text


def test_the_image_runs_as_nobody_special_and_headless() -> None:
    lines = [line for line in DOCKERFILE.read_text(encoding="utf8").splitlines() if not line.startswith("#")]
    final = "\n".join(lines[max(n for n, line in enumerate(lines) if line.startswith("FROM ")) :])
    assert re.search(r"^USER 1000", final, re.MULTILINE)
    assert "libgl" not in "\n".join(lines).lower()
    assert "wget" in final  # KubeRay's probes
    assert 'CMD ["ocrbatch", "--help"]' in final
    assert "'.[cpu]'" in "\n".join(lines)


def test_what_the_dockerfile_copies_exists_and_is_in_the_builds_context() -> None:
    kept = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [
        source
        for line in DOCKERFILE.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert source in kept


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if hadolint is None:
        pytest.skip("hadolint is not installed (extra `dev`)")
    done = subprocess.run([hadolint, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
