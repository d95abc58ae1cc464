"""Which suites judge a model."""

from core.domain.suite import SuiteKind
from core.ports import Transactions
from core.use_cases.suites import configure_model, create_suite
from tests.contract.scene import Scene


def test_suite_named_twice_judges_once(transactions: Transactions) -> None:
    scene = Scene(transactions)
    data, model = scene.frozen("cat", "dog"), scene.model()
    suite = create_suite(
        scene.platform,
        name="asked",
        kind=SuiteKind.ZERO_SHOT,
        dataset=data.dataset,
        dataset_version=1,
    )
    found = configure_model(
        scene.platform, model.name, suites=["asked", suite.id, "asked"], policy=None
    )
    assert found.suites == (suite.id,)
