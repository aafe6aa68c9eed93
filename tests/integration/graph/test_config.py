"""The configuration files: valid for Ray, with no option that Ray would silently ignore, and buildable."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import cast, get_args

import pytest
import yaml
from pydantic import BaseModel, ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve import Application, Deployment
from ray.serve.config import RequestRouterConfig
from ray.serve.schema import ServeDeploySchema

from deployments.affinity import AffinityRouter
from deployments.app import build
from multimodal.config import AppArgs
from multimodal.ring import LoadBound
from tests.integration.graph.backends import FAKES

ROOT = Path(__file__).parents[3]
SERVE_CONFIGS = ["serve_config.yaml", "serve_config.gpu.yaml"]
DEPLOYMENTS = {
    "Gateway",
    "MediaLoader",
    "TextEncoder",
    "ImageEncoder",
    "AudioEncoder",
    "VideoEncoder",
    "DocumentEncoder",
    "Reader",
    "Retriever",
    "Ingestor",
    "Generator",
    "VisionTower",
}
"""Of both profiles."""


SET_FOR_EVERY_DEPLOYMENT = {
    "ray_actor_options",
    "autoscaling_config",
    "max_ongoing_requests",
    "max_queued_requests",
    "health_check_period_s",
    "health_check_timeout_s",
    "graceful_shutdown_wait_loop_s",
    "graceful_shutdown_timeout_s",
}


def read(name: str) -> dict[str, object]:
    content = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def parsed(name: str) -> ServeDeploySchema:
    return ServeDeploySchema.model_validate(read(name))


def _all_bound(deployment: Deployment) -> list[Deployment]:
    # Annotated as a tuple, but a dict.
    named = cast(dict[str, object], deployment.init_kwargs)
    arguments = [*deployment.init_args, *named.values()]
    inner = [one._bound_deployment for one in arguments if isinstance(one, Application)]
    return [deployment, *(below for one in inner for below in _all_bound(one))]


def unknown_fields(value: object, model: type[BaseModel], path: str = "") -> list[str]:
    """Names that a schema would ignore, wherever they are nested."""
    if not isinstance(value, Mapping):
        return []
    found = [f"{path}{name}" for name in value if name not in model.model_fields]
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            inside = value.get(name)
            for item in inside if isinstance(inside, list) else [inside]:
                found += unknown_fields(item, inner, f"{path}{name}.")
    return found


def _models(annotation: object) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)][:1]


@pytest.mark.parametrize("name", SERVE_CONFIGS)
def test_no_option_is_one_that_ray_serve_ignores(name: str) -> None:
    assert unknown_fields(read(name), ServeDeploySchema) == []


def test_the_check_above_finds_a_misspelt_option_of_a_deployment() -> None:
    config = {"applications": [{"import_path": "a:b", "deployments": [{"name": "x", "max_ongoing": 1}]}]}
    assert unknown_fields(config, ServeDeploySchema) == ["applications.deployments.max_ongoing"]


@pytest.mark.parametrize("name", SERVE_CONFIGS)
def test_every_deployment_says_how_it_scales_queues_and_stops(name: str) -> None:
    (application,) = parsed(name).applications
    assert {one.name for one in application.deployments} == DEPLOYMENTS
    for deployment in application.deployments:
        assert deployment.model_fields_set >= SET_FOR_EVERY_DEPLOYMENT, deployment.name
        assert deployment.max_queued_requests > 0


@pytest.mark.parametrize("name", SERVE_CONFIGS)
def test_requests_about_one_content_meet_where_work_can_be_shared(name: str) -> None:
    """Serve would find a misspelt class or argument only when the first request comes, which then hangs."""
    (application,) = parsed(name).applications
    meets = {one.name: one.request_router_config for one in application.deployments if "Affinity" in str(one)}
    assert set(meets) == DEPLOYMENTS - {"Gateway", "TextEncoder", "Retriever", "Ingestor"}
    accepted = inspect.signature(AffinityRouter.initialize_state).parameters
    for given in meets.values():
        assert isinstance(given, dict)
        router = RequestRouterConfig(**given)
        assert router.request_router_class == f"{AffinityRouter.__module__}.{AffinityRouter.__qualname__}"
        assert set(router.request_router_kwargs) <= set(accepted)
        LoadBound(**router.request_router_kwargs)


@pytest.mark.parametrize("name", SERVE_CONFIGS)
def test_actor_options_are_ones_that_ray_knows(name: str) -> None:
    allowed = {"num_cpus", "num_gpus", "memory", "resources", "accelerator_type", "runtime_env"}
    (application,) = parsed(name).applications
    for deployment in application.deployments:
        assert set(deployment.ray_actor_options.model_dump(exclude_unset=True)) <= allowed


@pytest.mark.parametrize("name", SERVE_CONFIGS)
def test_the_server_listens_on_loopback_and_queues_64_requests(name: str) -> None:
    config = parsed(name)
    assert config.http_options.host == "127.0.0.1"
    for deployment in config.applications[0].deployments:
        assert deployment.max_queued_requests >= 64


@pytest.mark.parametrize("name", SERVE_CONFIGS)
def test_the_graph_is_built_with_fakes_from_the_arguments(name: str) -> None:
    (application,) = parsed(name).applications
    args = AppArgs.model_validate(application.args)
    gateway = build(args, FAKES)._bound_deployment
    bound = {one.name for one in _all_bound(gateway)}
    assert bound == DEPLOYMENTS


@pytest.mark.parametrize("name", SERVE_CONFIGS)
def test_a_misspelt_argument_is_refused(name: str) -> None:
    (application,) = parsed(name).applications
    with pytest.raises(ValidationError, match="max_frmaes"):
        AppArgs.model_validate({**application.args, "loader": {"max_frmaes": 3}})


def test_the_embedded_profile_fits_on_two_cores() -> None:
    (application,) = parsed("serve_config.yaml").applications
    options = [one.ray_actor_options.model_dump(exclude_unset=True) for one in application.deployments]
    assert sum(one["num_cpus"] for one in options) <= 2
    assert not any(one.get("num_gpus") for one in options)


def test_one_of_each_fits_on_one_accelerator() -> None:
    (application,) = parsed("serve_config.gpu.yaml").applications
    options = [one.ray_actor_options.model_dump(exclude_unset=True) for one in application.deployments]
    assert 0.9 <= sum(one.get("num_gpus", 0) for one in options) <= 1


def test_the_cluster_file_is_valid_for_ray_up() -> None:
    validate_config(prepare_config(read("cluster.yaml")))


def test_the_cluster_starts_gpu_workers_and_keeps_the_dashboard_on_loopback() -> None:
    config = read("cluster.yaml")
    types = config["available_node_types"]
    assert isinstance(types, dict)
    assert types["gpu_worker"]["resources"] == {"GPU": 1}
    assert "--dashboard-host=127.0.0.1" in str(config["head_start_ray_commands"])


def test_the_production_profile_does_not_compare_pictures_with_texts_of_another_space() -> None:
    (application,) = parsed("serve_config.gpu.yaml").applications
    assert AppArgs.model_validate(application.args).image.space == "own"
