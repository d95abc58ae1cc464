"""The settings, which are frozen and the same for every process."""

import os
import re
import reprlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "PERENNIAL_"
USAGE = 2  # exit code of a process that was started wrongly

# A URL may hold a password, so neither `repr` nor an error shows it.
Url = Annotated[str, Field(repr=False)]
HttpUrl = Annotated[Url, Field(pattern=r"^(https?://\S+)?$")]
Port = Annotated[int, Field(ge=0, le=65535)]


class ImportBucket(BaseModel):
    """A bucket that imports may read. What is empty is as AWS's own variables and files say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1)]
    endpoint: HttpUrl = ""
    region: str = ""
    access_key_id: SecretStr = SecretStr("")
    secret_access_key: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _has_a_whole_key(self) -> Self:
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("must have access_key_id and secret_access_key together")
        return self


class _Environment(EnvSettingsSource):
    """The environment; what should be JSON and is not is refused like any other wrong value."""

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        """Return the value that the text stands for, or the text itself."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class Settings(BaseSettings):
    """The settings of a deployment. Each field is read from `PERENNIAL_<FIELD>`.

    The defaults describe the embedded service: SQLite, a local folder and a filesystem broker
    below `home`, all on loopback.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,  # which may be a secret
    )

    home: Path = Path("var")
    database_url: Url = ""  # empty: SQLite below home
    broker_url: Url = ""  # empty: Celery's filesystem transport below home
    artifacts_url: Url = ""  # a folder or s3://BUCKET/PREFIX; empty: a folder below home
    s3_endpoint: Url = ""  # empty: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself
    s3_region: str = ""  # empty: AWS_REGION, AWS_DEFAULT_REGION, or us-east-1
    # Read at the first start. "digest": who uploads can work out which images are held out.
    split: Literal["secret", "digest"] = "secret"
    migrate_on_start: bool = True  # compose runs migrations as a one-shot instead

    host: str = "127.0.0.1"
    port: Port = 8750
    admin_key: SecretStr = SecretStr("")  # empty: made and printed once at first start
    embedded: bool = True  # the API process starts worker and inference itself

    inference_host: str = "127.0.0.1"
    inference_port: Port = 8751
    inference_url: Url = ""  # of each replica, with blanks; empty: inference_host:inference_port
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
    # "auto": of the engines that have a version's own features, the fastest one on this CPU
    engine: Literal["auto", "torch", "onnx", "openvino"] = "auto"
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
    max_import_files: Annotated[int, Field(gt=0)] = 100_000  # of one archive
    # imports may read no others
    import_buckets: Annotated[tuple[ImportBucket, ...], Field(repr=False)] = ()
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
    oidc_issuer: Url = ""  # its URL, exactly as its tokens have it
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
    traces_url: HttpUrl = ""

    root_folders: tuple[Path, ...] = ()  # folders from which a model's base may be read

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings come from: arguments, then the environment."""
        return init_settings, _Environment(settings_cls)

    @field_validator("database_url")
    @classmethod
    def _is_of_a_known_database(cls, url: str) -> str:
        if url and _backend_of(url) not in {"sqlite", "postgresql", "postgres"}:
            raise ValueError(
                "must be postgresql+psycopg://USER:PASSWORD@HOST:PORT/NAME, sqlite:///PATH or empty"
            )
        return url

    @field_validator("broker_url")
    @classmethod
    def _is_of_a_known_broker(cls, url: str) -> str:
        if url and not url.startswith(("redis://", "rediss://", "filesystem://")):
            raise ValueError("must be redis://:PASSWORD@HOST:PORT/0, rediss:// with TLS, or empty")
        return url

    @field_validator("import_buckets")
    @classmethod
    def _names_each_bucket_once(cls, buckets: tuple[ImportBucket, ...]) -> tuple[ImportBucket, ...]:
        if len({bucket.name for bucket in buckets}) < len(buckets):
            raise ValueError("must name each bucket once: requests tell buckets apart by it")
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


def _backend_of(url: str) -> str | None:
    """Return the kind of database that a URL names; None if it cannot be read."""
    try:
        return make_url(url).get_backend_name()
    except (ValueError, ArgumentError):
        return None


# Settings of the environment, and what is wrong with them.

_MUST = {  # by pydantic's type of error, where its message would not do
    "int_parsing": "be a whole number",
    "float_parsing": "be a number",
    "bool_parsing": "be true or false",
    "tuple_type": 'be a list in JSON, such as ["a", "b"]',
    "dict_type": 'be an object in JSON, such as {"a": "b"}',
    "missing": "be given",
    "extra_forbidden": "be left out: there is no such field",
}


def read_settings() -> Settings:
    """Return the settings of the environment; say which are wrong and exit with code 2."""
    try:
        return Settings()
    except ValidationError as error:
        sys.stderr.writelines(f"perennial: {line}\n" for line in flaws_of(error))
        raise SystemExit(USAGE) from None


def flaws_of(error: ValidationError) -> Iterator[str]:
    """Yield a sentence for each wrong setting, which shows no value that may hold a secret."""
    for flaw in error.errors():
        field, *place = flaw["loc"]
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
        shown = Settings.model_fields[str(field)]
        hidden = not shown.repr or shown.annotation is SecretStr or flaw["type"] == "missing"
        value = "" if hidden else f", and is {reprlib.repr(flaw['input'])}"
        yield f"{PREFIX}{str(field).upper()}{''.join(steps)} {_requirement(flaw)}{value}."


def _requirement(flaw: ErrorDetails) -> str:
    """Return what a value must be, beginning with "must"."""
    if known := _MUST.get(flaw["type"]):
        return f"must {known}"
    return re.sub(r"^\w+ should ", "must ", flaw["msg"].removeprefix("Value error, "))


def thread_count(threads: int) -> int:
    """Return the number of threads for a setting; 0: OMP_NUM_THREADS, or else one per core."""
    named, *_ = os.environ.get("OMP_NUM_THREADS", "").split(",")  # a list names inner levels too
    return threads or (int(named) if named.isdecimal() else 0) or os.cpu_count() or 1
