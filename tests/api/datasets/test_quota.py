"""The quota of stored images."""

from pathlib import Path

from core.datasets.manifests import Side
from core.datasets.rows import Datasets
from tests.support.api.archives import zipped
from tests.support.api.image_files import picture, pictures_on
from tests.support.api.imports import PRODUCTS, importing
from tests.support.api.seeds import a_root
from tests.support.api.service import EMBEDDED, code_of, running, settings_of


def test_images_beyond_the_quota_are_refused_before_they_are_stored(home: Path) -> None:
    here, first = "/v1/datasets/products/images", ("boot", ("a.png", picture(1)))
    second = ("bag", ("b.png", picture(2)))
    with running(settings_of(home)) as service:
        a_root(service.platform)
        service.client.post("/v1/datasets", json={"name": "products"})
        service.client.post("/v1/datasets", json={"name": "others"})
        for path in (here, "/v1/datasets/others/images"):  # one image, however many hold it
            assert service.client.post(path, files=[first]).status_code == 200
        with service.platform.transactions(read_only=True) as work:
            quota = work[Datasets].stored_bytes() + 1
    assert quota > 1
    with running(settings_of(home, max_stored_bytes=quota)) as service:
        with service.untouched():
            refused = service.client.post(here, files=[second])
            assert code_of(refused) == (413, "quota_exceeded")
            facts = refused.json()["facts"]
            assert (facts["stored_bytes"], facts["quota_bytes"]) == (quota - 1, quota)
            assert facts["needed_bytes"] > 1
            images = enumerate(pictures_on(Side.TRAIN, 9)[3:])
            taught = [("ab"[n % 2], (f"{n}.png", image)) for n, image in images]
            refused = service.client.post("/v1/models/demo/classes", files=taught)
            assert code_of(refused) == (413, "quota_exceeded")
        assert service.client.post(here, files=[first, first]).status_code == 200
        for dataset in ("products", "others"):
            assert service.client.delete(f"/v1/datasets/{dataset}").status_code == 204
        service.client.post("/v1/datasets", json={"name": "products"})
        assert service.client.post(here, files=[second]).status_code == 200


@EMBEDDED
def test_an_import_beyond_the_quota_fails_and_changes_nothing(home: Path) -> None:
    with running(settings_of(home, max_stored_bytes=1)) as service, importing(service) as imports:
        job = imports.run(zipped({"boot/1.png": picture(1)}))
        assert (job["status"], job["error"]["code"]) == ("failed", "quota_exceeded")
        assert service.client.get(PRODUCTS).json()["counts"] == {}
