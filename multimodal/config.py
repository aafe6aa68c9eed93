"""Settings: what `serve_config.yaml` may say under `args:`, each field with its unit.

Unknown fields are refused, so that a misspelt option is an error and not silence.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

ModelRef = Annotated[str, StringConstraints(pattern=r"^(hf|file|embedded):.+$")]
"""Where a model comes from: `hf:org/name@revision`, `file:/folder` or `embedded:name`."""

MIB = 1024 * 1024


def state() -> Path:
    """Folder in which `library` lies, which is uploaded files and their index: MULTIMODAL_STATE, else `home`.

    Two servers can share their models, but never a library.
    """
    explicit = os.environ.get("MULTIMODAL_STATE")
    return Path(explicit).expanduser() if explicit else home()


def home() -> Path:
    """Folder of models and logs: MULTIMODAL_HOME, else `multimodal` in the user's cache folder."""
    explicit = os.environ.get("MULTIMODAL_HOME")
    if explicit:
        return Path(explicit).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "multimodal"


class Settings(BaseModel):
    """Base: frozen, and strict about names."""

    # URLs of databases and caches may hold passwords: what is wrong is named, and not shown.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Limits(Settings):
    """What one request may cost. Checked before anything is materialised."""

    body_bytes: int = Field(64 * MIB, gt=0, description="HTTP body, bytes")
    image_bytes: int = Field(20 * MIB, gt=0, description="encoded picture, bytes")
    image_pixels: int = Field(100_000_000, gt=0, description="picture, pixels")
    audio_bytes: int = Field(25 * MIB, gt=0, description="encoded audio, bytes")
    audio_s: float = Field(1800.0, gt=0, description="audio, seconds")
    video_bytes: int = Field(50 * MIB, gt=0, description="encoded video, bytes")
    video_s: float = Field(300.0, gt=0, description="video, seconds")
    document_bytes: int = Field(50 * MIB, gt=0, description="document, bytes")
    document_pages: int = Field(500, gt=0, description="document, pages")
    media_parts: int = Field(32, gt=0, description="media parts in one request")
    messages: int = Field(1000, gt=0, description="messages in one request")
    embedding_inputs: int = Field(2048, gt=0, description="texts in one embeddings request (OpenAI's limit)")
    choices: int = Field(8, gt=0, description="n: answers to one request")


class LoaderArgs(Settings):
    """MediaLoader: decoding in worker processes that can be killed."""

    workers: int = Field(2, gt=0, description="decoder processes per replica")
    decode_timeout_s: float = Field(20.0, gt=0, description="seconds after which a decoder is killed")
    decode_timeout_s_per_media_s: float = Field(
        0.1, ge=0, description="further seconds allowed for each second of audio or video"
    )
    worker_memory_bytes: int = Field(2048 * MIB, gt=0, description="address space of one decoder, bytes")
    image_max_side_px: int = Field(
        2048, gt=0, description="longer side after decoding, pixels; larger pictures are scaled down"
    )
    frame_max_side_px: int = Field(960, gt=0, description="longer side of a video frame, pixels")
    max_frames: int = Field(
        8, gt=0, le=256, description="frames of a video unless the request says otherwise"
    )
    max_frames_limit: int = Field(64, gt=0, le=256, description="largest max_frames that a client may set")
    max_pages: int = Field(32, gt=0, le=256, description="pages of a document decoded at once")
    max_page_images: int = Field(
        16, ge=0, le=256, description="pages of one decoding that are rendered at reading size, for OCR"
    )
    page_preview_px: int = Field(384, gt=0, description="longer side of the preview of a page, pixels")
    page_max_side_px: int = Field(1280, gt=0, description="longer side of a page that is to be read, pixels")
    timeout_s: float = Field(240.0, gt=0, description="longest wait for a result, seconds")


class TextArgs(Settings):
    """TextEncoder."""

    model: ModelRef = "embedded:minilm"
    max_tokens: int = Field(256, gt=0, description="longer texts are an error, tokens")
    batch_tokens: int = Field(4096, gt=0, description="padded tokens in one batch")
    batch_wait_s: float = Field(0, ge=0, description="how long a batch waits for company, seconds")
    device: str = "cpu"
    timeout_s: float = Field(60.0, gt=0, description="longest wait for a result, loading included, seconds")


class ImageArgs(Settings):
    """ImageEncoder. Without a model it reports size and colours only."""

    model: ModelRef | None = "embedded:image-tower"
    space: Literal["unified", "own"] = Field(
        "unified",
        description=(
            "unified: pictures lie where TextEncoder's sentences lie; own: they do not, so they cannot be "
            "compared with texts"
        ),
    )
    batch_items: int = Field(16, gt=0, description="pictures in one batch")
    batch_wait_s: float = Field(0, ge=0, description="how long a batch waits for company, seconds")
    device: str = "cpu"
    compute_type: Literal["float32", "int8"] = Field(
        "float32", description="int8: faster, with vectors that are near those; convolutional towers, CPUs"
    )
    timeout_s: float = Field(60.0, gt=0, description="longest wait for a result, loading included, seconds")

    @model_validator(mode="after")
    def _int8_is_for_cpus(self) -> Self:
        if self.compute_type == "int8" and self.device != "cpu":
            raise ValueError(
                f"image.compute_type int8 is for CPUs, and image.device is {self.device!r}: set float32."
            )
        return self


class AudioArgs(Settings):
    """AudioEncoder: Whisper on CTranslate2."""

    model: ModelRef = "embedded:whisper-tiny-en"
    batch_windows: int = Field(8, gt=0, description="windows (of 30 s at most) in one batch")
    batch_wait_s: float = Field(0, ge=0, description="how long a batch waits for company, seconds")
    part_windows: int = Field(
        4, gt=0, description="windows in one call; a longer recording is shared out among the replicas"
    )
    beam_size: int = Field(5, gt=0, description="hypotheses kept while decoding")
    threads: int = Field(2, gt=0, description="CPU threads")
    device: str = "cpu"
    compute_type: str = "int8"
    timeout_s: float = Field(600.0, gt=0, description="longest wait for a result, loading included, seconds")


class ReaderArgs(Settings):
    """Reader: OCR."""

    max_side_px: int = Field(1280, gt=0, description="longer side of the picture that is read, pixels")
    min_confidence: float = Field(0.6, ge=0, le=1, description="lines below are dropped")
    batch_items: int = Field(4, gt=0, description="pictures in one batch")
    batch_wait_s: float = Field(0, ge=0, description="how long a batch waits for company, seconds")
    threads: int = Field(2, gt=0, description="CPU threads")
    device: Literal["cpu", "cuda"] = "cpu"
    timeout_s: float = Field(120.0, gt=0, description="longest wait for a result, loading included, seconds")


class VideoArgs(Settings):
    """VideoEncoder."""

    scene_difference: float = Field(
        0.02,
        ge=0,
        le=1,
        description="difference between small frames above which a new scene begins",
    )
    timeout_s: float = Field(600.0, gt=0, description="longest wait for a result, loading included, seconds")


class DocumentArgs(Settings):
    """DocumentEncoder."""

    chunk_words: int = Field(120, gt=0, description="words of a chunk at most")
    timeout_s: float = Field(600.0, gt=0, description="longest wait for a result, loading included, seconds")


class StoredLimits(Settings):
    """What an uploaded file may cost when it is worked on; larger ones are kept, but not understood."""

    image_bytes: int = Field(64 * MIB, gt=0, description="picture, bytes")
    audio_bytes: int = Field(200 * MIB, gt=0, description="recording, bytes")
    audio_s: float = Field(7200.0, gt=0, description="recording, seconds")
    video_bytes: int = Field(256 * MIB, gt=0, description="video, bytes")
    video_s: float = Field(3600.0, gt=0, description="video, seconds")
    document_bytes: int = Field(200 * MIB, gt=0, description="document, bytes")
    document_pages: int = Field(2000, gt=0, description="document, pages")


class LibraryArgs(Settings):
    """Uploaded files: where they lie, and how they are made into segments."""

    storage_url: str | None = Field(
        None,
        description=(
            "fsspec URL of the folder that holds the bytes (`s3://bucket/folder`, with that filesystem's own "
            "credentials in the environment); null: `library/media` in MULTIMODAL_STATE"
        ),
    )
    database_url: str | None = Field(
        None,
        description="SQLAlchemy URL of the metadata; null: SQLite, `library/metadata.db` in MULTIMODAL_STATE",
    )
    upload_bytes: int = Field(2048 * MIB, gt=0, description="largest upload, bytes")
    tenant_files: int = Field(100_000, gt=0, description="files of one tenant")
    tenant_bytes: int = Field(1024 * 1024 * MIB, gt=0, description="bytes of all files of one tenant")
    metadata_keys: int = Field(32, gt=0, description="user metadata of one file, keys")
    limits: StoredLimits = StoredLimits()
    frames: int = Field(32, gt=0, le=256, description="frames of a video that are sampled for search")
    concurrency: int = Field(1, gt=0, description="files that one Ingestor works on at the same time")
    attempts: int = Field(3, gt=0, description="tries at a file whose processing was interrupted")
    file_timeout_s: float = Field(3600.0, gt=0, description="longest work on one file, seconds")
    lease_s: float = Field(
        30.0, gt=0, description="seconds after which the work of an Ingestor that died goes to another"
    )
    poll_s: float = Field(0.5, gt=0, description="how often an idle Ingestor looks for work, seconds")
    sweep_s: float = Field(3600.0, gt=0, description="time between two repairs of what crashes left, seconds")
    orphan_s: float = Field(
        3600.0, gt=0, description="age at which bytes that no file refers to are deleted, seconds"
    )
    thumbnail_px: int = Field(256, gt=0, description="longer side of thumbnails, pixels")


class RetrieverArgs(Settings):
    """Retriever: the index of segments."""

    qdrant_url: str | None = Field(
        None, description="a Qdrant server; null: Qdrant's engine in the replica, `library/index` on disk"
    )
    qdrant_api_key_env: str = Field(
        "QDRANT_API_KEY", description="name of the environment variable that holds the server's key"
    )
    collection: str = Field(
        "segments", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="collection on the server"
    )
    hnsw_m: int = Field(16, gt=0, description="links of a node of the HNSW graph")
    hnsw_ef_construct: int = Field(100, gt=0, description="neighbours considered while it is built")
    hnsw_ef: int = Field(128, gt=0, description="neighbours considered while it is searched")
    index_from: int = Field(10_000, gt=0, description="points of a tenant that are searched without HNSW")
    optimize_s: float = Field(30.0, gt=0, description="time between two builds of the index, seconds")
    lock_timeout_s: float = Field(
        60.0, ge=0, description="how long a new replica waits for the one before it to let go, seconds"
    )
    candidates: int = Field(100, gt=0, description="best segments of each ranked list that are fused")
    rrf_k: int = Field(60, gt=0, description="k of reciprocal rank fusion")
    cross_modal_gain: float = Field(
        1.5,
        gt=0,
        description=(
            "unified space: factor for cosines of words with pictures, which are smaller than those of words "
            "with words that fit as well; 1: none"
        ),
    )
    duplicate_bits: int = Field(
        6, ge=0, le=32, description="bits in which perceptual hashes of near-duplicates differ at most"
    )
    timeout_s: float = Field(30.0, gt=0, description="longest wait for a result, seconds")


class SearchArgs(Settings):
    """Search, and answers that stand on what was found."""

    max_top_k: int = Field(100, gt=0, description="hits of one search at most")
    max_offset: int = Field(1000, ge=0, description="hits that paging can skip")
    max_queries: int = Field(16, gt=0, description="parts of a mixed query")
    answer_top_k: int = Field(
        4, gt=0, description="segments that an answer stands on, unless the request says so"
    )
    answer_max_top_k: int = Field(16, gt=0, description="segments that a request may ask for at most")
    relevance: float = Field(
        0.35, ge=-1, le=1, description="similarity below which a segment is not relevant for an answer"
    )


class CacheArgs(Settings):
    """What was made of media, kept: in the memory of each replica, and in Redis where there is one."""

    redis_url: str | None = Field(
        None,
        description=(
            "`redis://host:6379/0`, shared by all replicas; null: memory only. Servers that share one need "
            "the same MULTIMODAL_SECRET"
        ),
    )
    redis_password_env: str = Field(
        "REDIS_PASSWORD", description="environment variable that holds the password of Redis, if it has one"
    )
    redis_wait_s: float = Field(
        0.005, gt=0, description="longest wait for Redis to say what it has; later is a miss, seconds"
    )
    redis_bytes_per_s: float = Field(
        50e6,
        gt=0,
        description="a large value may take longer than redis_wait_s by its size over this, bytes/s",
    )
    breaker_failures: int = Field(3, gt=0, description="failures in a row after which Redis is left alone")
    breaker_s: float = Field(
        5.0, gt=0, description="how long it is left alone before it is tried again, seconds"
    )
    memory_bytes: int = Field(
        256 * MIB, ge=0, description="values in the memory of one replica, bytes; 0: none"
    )
    value_bytes: int = Field(64 * MIB, gt=0, description="largest value that is kept, bytes")
    stored_bytes: int = Field(
        16 * MIB, ge=0, description="largest value that is kept beside an uploaded file, bytes; 0: none is"
    )
    image_ttl_s: float = Field(
        24 * 3600.0, gt=0, description="how long what was made of a picture is kept, seconds"
    )
    audio_ttl_s: float = Field(72 * 3600.0, gt=0, description="same for a recording, seconds")
    video_ttl_s: float = Field(72 * 3600.0, gt=0, description="same for a video, seconds")
    document_ttl_s: float = Field(72 * 3600.0, gt=0, description="same for a document, seconds")
    ttl_s_per_cost_s: float = Field(
        3600.0, ge=0, description="further seconds for each second that it took to make"
    )
    max_ttl_s: float = Field(30 * 24 * 3600.0, gt=0, description="longest that anything is kept, seconds")


class BypassArgs(Settings):
    """Where pictures are encoded, when Generator keeps its own tower: see `multimodal.generation.bypass`.

    Defaults are what `benchmarks.bypass` advised for two cores and a tower of 97 million parameters.
    """

    route: Literal["auto", "tower", "engine"] = Field(
        "auto", description="auto: decided for each request; tower, engine: always there"
    )
    engine_tokens: int = Field(
        1024, ge=0, description="image tokens of a request up to which the engine encodes them"
    )
    engine_queue: int = Field(
        1, ge=0, description="requests under way in Generator from which on its tower is left alone"
    )


class VisionArgs(Settings):
    """VisionTower: media as embeddings that Generator reads in the place of words."""

    source: Literal["connector", "tower"] = Field(
        "connector",
        description=(
            "connector: from what ImageEncoder's tower saw (the embedded profile); tower: the vision tower "
            "and projector of generator.model, of a family that multimodal/encoders/towers has"
        ),
    )
    kinds: frozenset[Literal["image", "video", "audio"]] = Field(
        frozenset({"image", "video"}),
        description="media that the tower encodes; audio: where the family has that",
    )
    device: str = "cpu"
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = Field(
        "auto", description="auto: the checkpoint's"
    )
    max_pixels: int | None = Field(
        None,
        gt=0,
        description="larger pictures and frames are scaled down, pixels; null: the processor's own",
    )
    batch_items: int = Field(8, gt=0, description="media in one batch")
    batch_wait_s: float = Field(0, ge=0, description="how long a batch waits for company, seconds")
    bypass: BypassArgs = BypassArgs()
    timeout_s: float = Field(60.0, gt=0, description="longest wait for a result, encoding included, seconds")


class GeneratorArgs(Settings):
    """Generator: a vLLM engine."""

    model: ModelRef = "embedded:smollm2-135m-vl"
    served_name: str = Field("smollm2-135m-instruct", description="the model's name in the API")
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = "bfloat16"
    max_model_len: int = Field(8192, gt=0, description="prompt and answer, tokens")
    max_num_seqs: int = Field(64, gt=0, description="requests in one engine step")
    max_num_batched_tokens: int = Field(2048, gt=0, description="tokens in one engine step")
    media_prefill_tokens: int | None = Field(
        32,
        gt=0,
        description=(
            "tokens of prompts with media that one engine step reads at most while there are texts: fewer "
            "make texts smoother and media slower; null: no limit. Engines on CPUs only"
        ),
    )
    block_tokens: int | None = Field(
        32,
        gt=0,
        description=(
            "tokens of a block of the KV cache: prefixes are found in whole blocks; null: vLLM decides (128 "
            "on CPUs, 16 on most accelerators)"
        ),
    )
    kv_cache_bytes: int = Field(1024 * MIB, gt=0, description="paged KV cache, bytes (CPU)")
    gpu_memory_utilization: float | None = Field(
        None, gt=0, le=1, description="fraction of the accelerator's memory (GPU); replaces kv_cache_bytes"
    )
    tensor_parallel_size: int = Field(1, gt=0, description="accelerators of one replica")
    enforce_eager: bool = Field(
        True,
        description=(
            "do not compile the model. On a CPU compiling needs g++ and Python's headers, and takes a minute "
            "when a model is first served; what comes of it is kept in MULTIMODAL_HOME"
        ),
    )
    cores: str | None = Field(
        "0-1",
        pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*$",
        description='of a CPU engine, such as "0-3,8"; null: all that the replica may use',
    )
    worker_process: bool = Field(
        False,
        description=(
            "on a CPU: the model has a process beside its scheduler's, and each thread a core, as vLLM would "
            "have it"
        ),
    )
    max_images: int = Field(64, ge=0, description="pictures and frames in one prompt, where it takes pixels")
    image_placeholder: str = Field("<image>", description="what stands for a picture in the model's prompt")
    video_placeholder: str | None = Field(
        None, description="what stands for a video; null: the model is shown its frames as pictures"
    )
    audio_placeholder: str | None = Field(
        None, description="what stands for a recording; null: the model is told what was heard"
    )
    pixels: bool = Field(
        False, description="the model keeps its vision tower and is given pictures and frames as pixels"
    )
    default_max_tokens: int = Field(512, gt=0, description="answer length unless the request says, tokens")
    default_temperature: float = Field(0.0, ge=0, le=2, description="0: greedy")
    default_repetition_penalty: float = Field(1.0, gt=0, le=2, description="1: none")
    system_prompt: str | None = Field(
        None, description="for conversations that bring none of their own; null: that of the chat template"
    )
    media_prompt: str = Field(
        "Read the following notes and answer the question.\n\n{media}\n\nQuestion: {question}",
        pattern=r"(?s)\{media\}.*\{question\}",
        description="a message with media: {media} is what was seen and heard, {question} its words",
    )
    timeout_s: float = Field(1200.0, gt=0, description="longest time for an answer, seconds")
    media_question: str = Field("What is it?", description="the words of a message that has only media")


class DeadlineArgs(Settings):
    """How long a request may take."""

    base_s: float = Field(120.0, gt=0, description="seconds for any request")
    per_media_s: float = Field(1.0, ge=0, description="further seconds for each second of audio or video")


class ApiArgs(Settings):
    """The HTTP surface."""

    keys: dict[str, str] = Field(
        default_factory=dict,
        description="SHA-256 (hex) of a key -> tenant; empty: loopback callers only",
    )
    operators: tuple[str, ...] = Field(
        (),
        description=(
            "tenants that may ask how the server is (/metrics, /v1/cache/stats); empty: any key may read "
            "/metrics"
        ),
    )


class AppArgs(Settings):
    """The whole graph."""

    limits: Limits = Limits()
    deadline: DeadlineArgs = DeadlineArgs()
    api: ApiArgs = ApiArgs()
    loader: LoaderArgs = LoaderArgs()
    text: TextArgs = TextArgs()
    image: ImageArgs = ImageArgs()
    audio: AudioArgs = AudioArgs()
    reader: ReaderArgs = ReaderArgs()
    video: VideoArgs = VideoArgs()
    document: DocumentArgs = DocumentArgs()
    library: LibraryArgs = LibraryArgs()
    retriever: RetrieverArgs = RetrieverArgs()
    search: SearchArgs = SearchArgs()
    cache: CacheArgs = CacheArgs()
    vision: VisionArgs | None = Field(
        VisionArgs(), description="VisionTower; null where the generator looks at pixels, or at nothing"
    )
    generator: GeneratorArgs = GeneratorArgs()
    media_cpu: Literal["idle", "normal"] = Field(
        "idle",
        description=(
            "which time of the processor work on media gets: idle, what generator and Gateway leave, so that "
            "a flood of pictures does not hold up text; normal, the same share as they"
        ),
    )

    @model_validator(mode="after")
    def _one_way_to_see(self) -> Self:
        if self.vision is None:
            return self
        if self.vision.source == "tower":
            shows_frames = self.generator.pixels and self.generator.video_placeholder is None
            if shows_frames and not {"image", "video"} <= self.vision.kinds:
                raise ValueError(
                    "a generator that is shown pictures as embeddings cannot be shown frames as pixels. Put "
                    "image and video into vision.kinds, or set generator.video_placeholder."
                )
            return self
        if self.image.model is None or self.generator.pixels:
            raise ValueError(
                "vision.source: connector needs an image tower (image.model) and a generator that takes no "
                "pixels (generator.pixels: false). Set vision to null where there is none, or its source to "
                "tower, where generator.model has a tower of its own."
            )
        return self

    @property
    def may_bypass(self) -> bool:
        """Whether a request may have its pictures encoded in VisionTower or in the engine."""
        return self.generator.pixels and self.vision is not None
