"""The settings, which are frozen and the same for every process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ImportBucket(BaseModel):
    """A bucket that imports may read. What is empty is as AWS's own variables and files say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    endpoint: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    region: str = ""
    access_key_id: SecretStr = SecretStr("")
    secret_access_key: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _has_a_whole_key(self) -> Self:
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("give access_key_id and secret_access_key together")
        return self


class Settings(BaseSettings):
    """The settings of a deployment. Each field is read from `PERENNIAL_<FIELD>`.

    The defaults describe the embedded service: SQLite, a local folder and a filesystem broker
    below `home`, all on loopback.
    """

    model_config = SettingsConfigDict(
        env_prefix="PERENNIAL_",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,  # which may be a secret
    )

    home: Path = Path("var")
    database_url: str = ""  # empty: SQLite below home
    broker_url: str = ""  # empty: Celery's filesystem transport below home
    artifacts_url: str = ""  # a folder or s3://BUCKET/PREFIX; empty: a folder below home
    s3_endpoint: str = ""  # empty: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself
    s3_region: str = ""  # empty: AWS_REGION, AWS_DEFAULT_REGION, or us-east-1
    migrate_on_start: bool = True  # compose runs migrations as a one-shot instead

    host: str = "127.0.0.1"
    port: int = 8750
    admin_key: SecretStr = SecretStr("")  # empty: made and printed once at first start
    embedded: bool = True  # the API process starts worker and inference itself

    inference_host: str = "127.0.0.1"
    inference_port: int = 8751
    inference_url: str = ""  # of each replica, with blanks; empty: inference_host:inference_port
    inference_key: SecretStr = SecretStr("")  # the API sends it to inference; embedded, one is made
    inference_memory_bytes: int = 2 * 1024**3  # limit on what inference keeps loaded

    # The queues that a worker serves: "gpu" trains and scores, "housekeeping" imports bases and
    # archives of images.
    queues: Annotated[tuple[Literal["gpu", "housekeeping"], ...], Field(min_length=1)] = (
        "gpu",
        "housekeeping",
    )
    # "auto": the first GPU that torch can use, or else the CPU
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    threads: int = 0  # 0: OMP_NUM_THREADS, or else one per core
    ranks: int = 1  # processes that train an update together; on CUDA, each has a GPU of its own
    lease_seconds: float = 60.0
    checkpoint_seconds: float = 30.0
    sweep_seconds: float = 2.0
    grace_seconds: float = 10.0  # SIGTERM to SIGKILL
    lost_attempts: int = 3

    # The longest wait for a request's head and for the next piece of its body, and how far a body
    # may fall behind the slowest accepted pace.
    receive_seconds: Annotated[float, Field(gt=0)] = 30.0
    receive_bytes_per_second: Annotated[int, Field(gt=0)] = 500  # the slowest accepted pace
    keep_alive_seconds: Annotated[int, Field(gt=0)] = 75  # an idle connection stays open this long
    max_body_bytes: int = 512 * 1024 * 1024
    max_json_bytes: int = 16 * 1024 * 1024  # of a body that is neither a form nor an archive
    max_file_bytes: int = 32 * 1024 * 1024
    max_parts: int = 1000
    max_pixels: int = 25_000_000
    stored_side: int = 512  # pixels: longest side of a stored image
    decode_seconds: float = 20.0
    decode_memory_bytes: int = 1024 * 1024 * 1024
    max_upload_bytes: Annotated[int, Field(gt=0)] = 2 * 1024**3  # of a resumable upload
    max_unpacked_bytes: Annotated[int, Field(gt=0)] = 4 * 1024**3  # of an archive of images
    max_import_files: Annotated[int, Field(gt=0)] = 10_000  # of one archive
    import_buckets: tuple[ImportBucket, ...] = ()  # imports may read no others
    min_free_bytes: int = 256 * 1024 * 1024
    max_stored_bytes: Annotated[int, Field(ge=0)] = 0  # of all images; 0: no quota

    # The Ed25519 key that signs bundles, PKCS #8 (RFC 8410) in base64, and the public keys whose
    # bundles may be imported, SubjectPublicKeyInfo in base64, by names that the operator gives.
    signing_key: SecretStr = SecretStr("")
    trusted_keys: Mapping[str, str] = {}

    # Requests that a key may make within `rate_seconds`, jobs that may wait, and streams; 0: no
    # limit.
    rate_requests: Annotated[int, Field(ge=0)] = 1000  # other than those that only ask a model
    rate_inference: Annotated[int, Field(ge=0)] = 0  # those: classify, embed, embeddings
    rate_seconds: Annotated[int, Field(gt=0)] = 10
    max_waiting_per_model: Annotated[int, Field(ge=0)] = 100
    max_waiting_per_key: Annotated[int, Field(ge=0)] = 500
    max_streams_per_key: Annotated[int, Field(ge=0)] = 32  # of events, open in one API process

    # Days for which a folder of back-ups keeps what no back-up needs any more.
    backup_days: Annotated[float, Field(ge=0, le=366 * 100)] = 30.0

    session_hours: Annotated[float, Field(gt=0)] = 12.0  # after which a browser signs in again

    # Predictions of a trial that can still be labelled: at most so many, and for so long.
    max_trial_predictions: Annotated[int, Field(gt=0)] = 100_000
    max_trial_hours: Annotated[float, Field(gt=0, le=24 * 366)] = 168.0
    # Images of callers that a shadow keeps where its versions disagree; 0: none is kept.
    max_trial_samples: Annotated[int, Field(ge=0, le=10_000)] = 0

    webhook_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0  # the longest attempt to deliver
    webhook_private: bool = False  # allow webhooks to private addresses, and to http URLs

    # Bearer tokens of an OpenID Connect issuer; without it, API keys alone are accepted.
    oidc_issuer: str = ""  # its URL, exactly as its tokens have it
    oidc_audience: str = ""  # which the tokens must be for: this service's name at the issuer
    oidc_role_claim: str = "roles"  # a claim, or a path such as realm_access.roles
    # Roles by the claim's values; empty: the values are the names of roles.
    oidc_roles: Mapping[str, Literal["viewer", "contributor", "operator", "admin"]] = {}
    oidc_models_claim: str = ""  # whose values name models; empty: a token concerns all models
    oidc_leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 30.0  # between the two clocks

    # Origins whose pages may call the API from a browser, such as https://studio.example; or "*".
    cors_origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s,*]+)$")], ...] = ()

    log_format: Literal["auto", "json", "console"] = "auto"  # auto: console on a terminal
    log_level: Literal["", "debug", "info", "warning", "error"] = ""  # "": info; terminal: warning

    # A collector of traces, as OTLP over HTTP: http://127.0.0.1:4318/v1/traces; empty: no traces.
    traces_url: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""

    root_folders: tuple[Path, ...] = ()  # folders from which a model's base may be read

    @field_validator("import_buckets")
    @classmethod
    def _names_each_bucket_once(cls, buckets: tuple[ImportBucket, ...]) -> tuple[ImportBucket, ...]:
        if len({bucket.name for bucket in buckets}) < len(buckets):
            raise ValueError("name each bucket once: requests tell buckets apart by name alone")
        return buckets

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.home.absolute() / 'perennial.db'}"

    @property
    def artifacts(self) -> Path:
        """The artifact folder in force, unless artifacts lie on S3."""
        return (
            Path(self.artifacts_url) if self.artifacts_url else self.home.absolute() / "artifacts"
        )

    @property
    def broker(self) -> str:
        """The Celery broker URL in force."""
        return self.broker_url or "filesystem://localhost"

    @property
    def inference(self) -> str:
        """The URL at which the API reaches the inference process, or those of its replicas."""
        return self.inference_url or f"http://{self.inference_host}:{self.inference_port}"

    @property
    def inference_replicas(self) -> tuple[str, ...]:
        """The URLs at which the API reaches the replicas of the inference process."""
        return tuple(dict.fromkeys(self.inference.split()))
