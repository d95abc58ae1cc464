"""What the rules need from outside, as protocols."""

from core.ports.artifacts import Artifacts, Moved, References, StoredArtifact, nobody
from core.ports.datasets import (
    Datasets,
    DecodedImage,
    Decoder,
    LookAlikes,
    Seen,
    Suites,
    Thumbnails,
)
from core.ports.jobs import Doorbell, HeldJob, Jobs, NamedJob
from core.ports.learning import (
    AnswerCache,
    Evaluator,
    Importer,
    Selection,
    Trained,
    Trainer,
    TrainingTask,
    Watch,
)
from core.ports.operations import Beat, Beats, Figures, QueueFigure, RunningFigure, Tallies
from core.ports.platform import Clock, Platform, Transactions, UnitOfWork
from core.ports.registry import Aliases, Models, Policies, Versions
from core.ports.requests import Idempotency, IdempotentReply, Keys

__all__ = [
    "Aliases",
    "AnswerCache",
    "Artifacts",
    "Beat",
    "Beats",
    "Clock",
    "Datasets",
    "DecodedImage",
    "Decoder",
    "Doorbell",
    "Evaluator",
    "Figures",
    "HeldJob",
    "Idempotency",
    "IdempotentReply",
    "Importer",
    "Jobs",
    "Keys",
    "LookAlikes",
    "Models",
    "Moved",
    "NamedJob",
    "Platform",
    "Policies",
    "QueueFigure",
    "References",
    "RunningFigure",
    "Seen",
    "Selection",
    "StoredArtifact",
    "Suites",
    "Tallies",
    "Thumbnails",
    "Trained",
    "Trainer",
    "TrainingTask",
    "Transactions",
    "UnitOfWork",
    "Versions",
    "Watch",
    "nobody",
]
