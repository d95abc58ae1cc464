"""A made-up trial that runs, with a course and samples, as many as its page shows."""

from benchmarks.pages.made import BEGAN, digest_of
from core.domain.registry.alias import PRODUCTION
from core.domain.trials.course import CoursePoint
from core.domain.trials.sample import Sample
from core.domain.trials.trial import Trial, TrialMode
from core.domain.values import ModelId, PredictionId, TrialId
from core.ports import Platform

LABELS = 1000
COURSE, SAMPLES = 30, 100


def add_trial(platform: Platform, model: ModelId) -> None:
    """Let version 1 be tried as a shadow, unless it is already."""
    trial = Trial(
        id=TrialId("trial_pages"),
        model=model,
        alias=PRODUCTION,
        mode=TrialMode.SHADOW,
        current=2,
        candidate=1,
        started_by="key-1",
        started_at=BEGAN,
    )
    with platform.transactions() as work:
        if work.trials.running(model):
            return
        work.trials.start(trial, work.aliases.get(model, PRODUCTION))
        labels = dict.fromkeys(("labelled_current", "labelled_candidate"), LABELS)
        right = {"right_current": LABELS * 8 // 10, "right_candidate": LABELS * 83 // 100}
        told = {"gained": LABELS // 10, "lost": LABELS * 7 // 100, "sampled": SAMPLES}
        work.trials.count(trial.id, labels | right | told)
        work.trials.note_course([_point(trial, number) for number in range(COURSE)])
        for number in range(SAMPLES):
            work.samples.add(_sample(trial, number))
        work.commit()


def _point(trial: Trial, number: int) -> CoursePoint:
    labels = int(1.25**number) + number
    reach = labels**-0.5
    return CoursePoint(
        trial=trial.id, labels=labels, estimate=0.03, lower=0.03 - reach, upper=reach, at=BEGAN
    )


def _sample(trial: Trial, number: int) -> Sample:
    return Sample(
        trial=trial.id,
        pixels=digest_of(f"sample {number}"),
        artifact=digest_of(f"stored sample {number}"),
        prediction=PredictionId(f"pred_{number:06}"),
        answer=f"class {number % 50}",
        shadow_answer=f"class {number % 50 + 1}",
        at=BEGAN,
        size=20_000,
    )
