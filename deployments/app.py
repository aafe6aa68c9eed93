"""Builds the graph. The only place that binds deployments to each other.

Without `from __future__ import annotations`: Serve reads the type of `args` at run time to parse the YAML.
"""

from ray import serve
from ray.serve import Application, Deployment

from deployments.audio_encoder import AudioEncoder
from deployments.backends import Backends
from deployments.document_encoder import DocumentEncoder
from deployments.gateway import Gateway
from deployments.generator import Generator
from deployments.image_encoder import ImageEncoder
from deployments.ingestor import Ingestor
from deployments.media_loader import MediaLoader
from deployments.reader import Reader
from deployments.retriever import Retriever
from deployments.text_encoder import TextEncoder
from deployments.video_encoder import VideoEncoder
from deployments.vision_tower import VisionTower
from multimodal.config import AppArgs


def app(args: AppArgs) -> Application:
    """The graph that `serve_config.yaml` names as its `import_path`."""
    return build(args, Backends())


def build(args: AppArgs, make: Backends) -> Application:
    """The graph with given backends. Moderator joins here, as a further argument of Gateway."""
    image_encoder = _deployment(ImageEncoder).bind(args, make.image)
    reader = _deployment(Reader).bind(args, make.reader)
    audio_encoder = _deployment(AudioEncoder).bind(args, make.audio)
    stages = {
        "media_loader": _deployment(MediaLoader).bind(args, make.loader),
        "text_encoder": _deployment(TextEncoder).bind(args, make.text),
        "image_encoder": image_encoder,
        "audio_encoder": audio_encoder,
        "video_encoder": _deployment(VideoEncoder).bind(
            args, image_encoder, reader, audio_encoder, make.once
        ),
        "document_encoder": _deployment(DocumentEncoder).bind(args, image_encoder, reader),
        "reader": reader,
        "retriever": _deployment(Retriever).bind(args, make.store),
    }
    if args.vision:
        stages["vision_tower"] = _deployment(VisionTower).bind(args, make.vision)
    beside = {
        "ingestor": _deployment(Ingestor).bind(args, make.library, make.keeping_once, **stages),
        "generator": _deployment(Generator).bind(args, make.generator),
    }
    return _deployment(serve.ingress()(Gateway)).bind(args, make.library, make.once, **stages, **beside)


def _deployment(cls: type) -> Deployment:
    """A deployment named after its class; every option of it stands in the configuration file."""
    return serve.deployment(name=cls.__name__)(cls)
