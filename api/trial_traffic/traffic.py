"""Traffic of trials: which version answers a request, and what is recorded of the answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from api.inference.client import Inference
from api.trial_traffic.recorder import TrialRecorder
from api.trial_traffic.samples import Originals, SampleKeeper
from api.trial_traffic.shadow import Shadow, ShadowQuestion
from core.domain.trials.prediction import Prediction
from core.domain.trials.trial import Arm, Trial, TrialMode, Tried
from core.domain.values import Digest, PredictionId, new_id
from core.ports import ClassificationRequest, Decoder, Platform
from core.use_cases.inference.classify import Resolved

RequestOf = Callable[[Resolved], ClassificationRequest]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The part that a request has in a trial: who answers it, and the candidate."""

    trial: Trial
    arm: Arm
    caller: Digest | None
    answering: Resolved
    candidate: Resolved


def part_of(resolved: Resolved, tried: Tried, routing_key: str) -> Part:
    """Return the part of a request with this routing key in the trial of its alias."""
    candidate = replace(resolved, version=tried.candidate)
    arm = tried.trial.arm_of(routing_key)
    return Part(
        trial=tried.trial,
        arm=arm,
        caller=(
            tried.trial.caller_of(routing_key) if tried.trial.mode is TrialMode.CANARY else None
        ),
        answering=candidate if arm is Arm.CANDIDATE else resolved,
        candidate=candidate,
    )


class TrialTraffic:
    """Records the predictions of trials, and has the candidates of shadows asked."""

    def __init__(self, platform: Platform, inference: Inference, decoder: Decoder) -> None:
        self._platform = platform
        self.recorder = TrialRecorder(platform)
        self.samples = SampleKeeper(platform, decoder)
        self._shadow = Shadow(inference, self.recorder, self.samples)

    def answered(self, part: Part, answers: Sequence[str]) -> list[PredictionId]:
        """Record the classes that answer a request, and return the ids of the predictions."""
        now = self._platform.clock()
        predictions = [
            Prediction(
                id=PredictionId(new_id("pred", now)),
                trial=part.trial.id,
                mode=part.trial.mode,
                arm=part.arm,
                answer=answer,
                caller=part.caller,
                at=now,
            )
            for answer in answers
        ]
        self.recorder.answered(predictions)
        return [one.id for one in predictions]

    async def shadow(
        self,
        part: Part,
        predictions: Sequence[PredictionId],
        pixels: Sequence[bytes],
        request: RequestOf,
        originals: Originals | None = None,
    ) -> None:
        """Have the candidate of a shadow asked in the background about the same images.

        `request` makes the question to a version; of the originals, samples are kept.
        """
        if part.trial.mode is TrialMode.SHADOW:
            self._shadow.ask(
                ShadowQuestion(
                    predictions=predictions,
                    pixels=pixels,
                    request=lambda: request(part.candidate),
                    originals=originals,
                )
            )

    def close(self) -> None:
        """End what runs in the background, and write what was recorded."""
        self._shadow.close()
        self.recorder.close()
