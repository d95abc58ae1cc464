"""Tables of trials, their counts, and the predictions made during them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    false,
)

from core.adapters.database.tables.schema import UtcTime, metadata

# An alias names the trial that runs, if there is one: see `aliases`.
trials = Table(
    "trials",
    metadata,
    Column("id", String, primary_key=True),
    Column("model", ForeignKey("models.id"), nullable=False),
    Column("alias", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("current", Integer, nullable=False),
    Column("candidate", Integer, nullable=False),
    Column("share", Float(53)),
    Column("reason", String, nullable=False),
    Column("started_by", String, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_by", String),
    Column("ended_at", UtcTime),
    Column("end", String),
)

trial_counts = Table(
    "trial_counts",
    metadata,
    Column("trial", ForeignKey("trials.id"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

trial_predictions = Table(
    "trial_predictions",
    metadata,
    Column("id", String, primary_key=True),
    Column("trial", ForeignKey("trials.id"), nullable=False),
    Column("mode", String, nullable=False),
    Column("arm", String, nullable=False),
    Column("answer", String, nullable=False),
    Column("shadowed", String),  # null: the candidate of a shadow has not been asked yet
    Column("shadow_answer", String),
    Column("label", String),
    Column("at", UtcTime, nullable=False),
    Column("caller", String),  # null: of a shadow
    Column("same_caller", Boolean, nullable=False, server_default=false()),
)

# The callers of a canary of which a label counts.
trial_callers = Table(
    "trial_callers",
    metadata,
    Column("trial", ForeignKey("trials.id"), primary_key=True),
    Column("caller", String, primary_key=True),
)

# Images about which the versions of a shadow disagree; the images are kept for their trial alone.
trial_samples = Table(
    "trial_samples",
    metadata,
    Column("trial", ForeignKey("trials.id"), primary_key=True),
    Column("pixels", String(64), primary_key=True),
    Column("artifact", String(64), nullable=False),
    Column("prediction", String, nullable=False),
    Column("answer", String, nullable=False),
    Column("shadow_answer", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("size", BigInteger, nullable=False, server_default="0"),
)

# What the labels of a trial said, at growing numbers of labels.
trial_course = Table(
    "trial_course",
    metadata,
    Column("trial", ForeignKey("trials.id"), primary_key=True),
    Column("labels", BigInteger, primary_key=True, autoincrement=False),
    Column("estimate", Float(53), nullable=False),
    Column("lower", Float(53), nullable=False),
    Column("upper", Float(53), nullable=False),
    Column("at", UtcTime, nullable=False),
)

Index(None, trials.c.model, trials.c.alias, trials.c.id)
Index(None, trial_predictions.c.trial, trial_predictions.c.id)
Index(None, trial_predictions.c.at)
Index(None, trial_samples.c.pixels)
