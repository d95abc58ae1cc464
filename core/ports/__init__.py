"""Ports: what domain and use cases need from outside, as protocols."""

from core.ports.access import AuditFilter, AuditTrail, Idempotency, IdempotentReply, Keys
from core.ports.artifacts import (
    ArtifactRoots,
    Artifacts,
    BytesCallback,
    StoredArtifact,
    ignore_bytes,
)
from core.ports.datasets import (
    Datasets,
    DecodedImage,
    Decoder,
    ImageWithThumbnail,
    SimilarImages,
    Suites,
    Thumbnails,
)
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
from core.ports.webhooks import Message, Outbox, WebhookClient, Webhooks

__all__ = [
    "Aliases",
    "AnswerCache",
    "ArtifactRoots",
    "Artifacts",
    "AuditFilter",
    "AuditTrail",
    "BytesCallback",
    "ClassificationRequest",
    "Classifier",
    "Clock",
    "Counters",
    "Datasets",
    "DecodedImage",
    "Decoder",
    "Evaluator",
    "Gauges",
    "Heartbeat",
    "Heartbeats",
    "HeldJob",
    "Idempotency",
    "IdempotentReply",
    "ImageWithThumbnail",
    "Importer",
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
    "QueueGauge",
    "RunningGauge",
    "Selection",
    "SimilarImages",
    "StoredArtifact",
    "Suites",
    "Thumbnails",
    "Trained",
    "Trainer",
    "TrainingSpec",
    "Transactions",
    "UnitOfWork",
    "Versions",
    "WebhookClient",
    "Webhooks",
    "ignore_bytes",
    "ignore_progress",
]
