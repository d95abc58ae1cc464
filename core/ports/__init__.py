"""Ports: what domain and use cases need from outside, as protocols."""

from core.ports.access import (
    AuditFilter,
    AuditTrail,
    Idempotency,
    IdempotentReply,
    Keys,
    TokenVerifier,
)
from core.ports.artifacts import (
    ArtifactRoots,
    Artifacts,
    ArtifactWriter,
    BytesCallback,
    StoredArtifact,
    ignore_bytes,
)
from core.ports.datasets import (
    Datasets,
    DatasetUses,
    DecodedImage,
    Decoder,
    ImageWithThumbnail,
    SimilarImages,
    Suites,
    Thumbnails,
)
from core.ports.erasures import Erasures
from core.ports.exports import Exporter, Exports, Samples
from core.ports.imports import ArchivedFile, ArchiveReader, Buckets, Uploads
from core.ports.inference import ClassificationRequest, Classifier
from core.ports.jobs import HeldJob, JobNotifier, Jobs, NamedJob
from core.ports.learning import (
    AnswerCache,
    Evaluator,
    Importer,
    Monitor,
    Selection,
    Trained,
    Trainer,
    TrainingSpec,
    ignore_progress,
)
from core.ports.operations import (
    Counters,
    Gauges,
    Heartbeat,
    Heartbeats,
    OutboxGauge,
    QueueGauge,
    RunningGauge,
)
from core.ports.platform import Clock, Platform, Transactions, UnitOfWork
from core.ports.registry import Aliases, Models, Policies, Versions
from core.ports.signatures import PublicKey, Signatures, Signer
from core.ports.tracing import Span, SpanKind, Tracer, Untraced
from core.ports.vectors import Embedder, FittedBridge, IndexComparison
from core.ports.webhooks import Message, Outbox, WebhookClient, Webhooks

__all__ = [
    "Aliases",
    "AnswerCache",
    "ArchiveReader",
    "ArchivedFile",
    "ArtifactRoots",
    "ArtifactWriter",
    "Artifacts",
    "AuditFilter",
    "AuditTrail",
    "Buckets",
    "BytesCallback",
    "ClassificationRequest",
    "Classifier",
    "Clock",
    "Counters",
    "DatasetUses",
    "Datasets",
    "DecodedImage",
    "Decoder",
    "Embedder",
    "Erasures",
    "Evaluator",
    "Exporter",
    "Exports",
    "FittedBridge",
    "Gauges",
    "Heartbeat",
    "Heartbeats",
    "HeldJob",
    "Idempotency",
    "IdempotentReply",
    "ImageWithThumbnail",
    "Importer",
    "IndexComparison",
    "JobNotifier",
    "Jobs",
    "Keys",
    "Message",
    "Models",
    "Monitor",
    "NamedJob",
    "Outbox",
    "OutboxGauge",
    "Platform",
    "Policies",
    "PublicKey",
    "QueueGauge",
    "RunningGauge",
    "Samples",
    "Selection",
    "Signatures",
    "Signer",
    "SimilarImages",
    "Span",
    "SpanKind",
    "StoredArtifact",
    "Suites",
    "Thumbnails",
    "TokenVerifier",
    "Tracer",
    "Trained",
    "Trainer",
    "TrainingSpec",
    "Transactions",
    "UnitOfWork",
    "Untraced",
    "Uploads",
    "Versions",
    "WebhookClient",
    "Webhooks",
    "ignore_bytes",
    "ignore_progress",
]
