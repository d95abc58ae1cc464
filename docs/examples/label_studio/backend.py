"""A machine learning backend for Label Studio: a Perennial model proposes classes and learns them.

Label Studio calls it over HTTP: https://labelstud.io/guide/ml_create. Run it beside Label Studio:

    pip install fastapi uvicorn ./client
    uvicorn --app-dir docs/examples/label_studio --factory backend:create_app --port 9090
"""

import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import unquote, urljoin, urlsplit
from xml.etree import ElementTree

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from perennial.client import Client
from perennial.errors import ServiceError
from perennial.requests import ImageFile

MOST_IMAGE_BYTES = 32 * 1024**2

Json = dict[str, Any]


@dataclass(frozen=True)
class ChoicesTag:
    """The classes that annotators choose from, and the names of the tags involved."""

    from_name: str
    to_name: str
    image_key: str  # of the task's data
    classes: list[str]

    @classmethod
    def of(cls, label_config: str) -> "ChoicesTag":
        """Return the first Choices of an image. Raises HTTPException 400 without one."""
        try:
            root = ElementTree.fromstring(label_config)  # noqa: S314 (it is Label Studio's)
        except ElementTree.ParseError as error:
            raise HTTPException(400, f"The labelling interface is no XML: {error}") from error
        images = {tag.get("name", ""): tag.get("value", "") for tag in root.iter("Image")}
        for tag in root.iter("Choices"):
            classes = [choice.get("value", "") for choice in tag.iter("Choice")]
            to_name = tag.get("toName", "")
            if to_name in images and classes:
                return cls(tag.get("name", ""), to_name, images[to_name].lstrip("$"), classes)
        raise HTTPException(400, "The labelling interface has no Choices for an Image.")


class Backend:
    """Label Studio's requests, as uses of a model and a dataset of the service."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Connect to both services; the key needs the role contributor."""
        self._model, self._dataset = settings["PERENNIAL_MODEL"], settings["PERENNIAL_DATASET"]
        self._client = Client(settings["PERENNIAL_URL"], settings["PERENNIAL_KEY"])
        self._studio_url = settings["LABEL_STUDIO_URL"].rstrip("/") + "/"
        token = settings.get("LABEL_STUDIO_API_KEY", "")
        self._studio = httpx.Client(headers={"Authorization": f"Token {token}"}, timeout=30)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        self._studio.close()

    @property
    def model_version(self) -> str:
        """The version that is live, as Label Studio shows it."""
        return f"{self._model}:{self._client.aliases.get(self._model)['version']}"

    def predict(self, tasks: list[Json], label_config: str) -> list[Json]:
        """Return a prediction for each task; one whose image cannot be had is empty."""
        tag = ChoicesTag.of(label_config)
        found = [self._image(task, tag) for task in tasks]
        images = [image for image in found if image is not None]
        if not images:
            return [{"result": [], "score": 0.0} for _ in tasks]
        answer = self._client.classify(self._model, images, tag.classes, top_k=1)
        version, answers = f"{answer['model']}:{answer['version']}", iter(answer["data"])
        return [
            _prediction(next(answers)["predictions"] if image else [], tag, version)
            for image in found
        ]

    def annotated(self, task: Json, annotation: Json, label_config: str) -> Json:
        """Add an annotated image to the dataset; a class that was corrected is corrected there."""
        tag = ChoicesTag.of(label_config)
        chosen = [
            name
            for result in annotation["result"]
            if result["from_name"] == tag.from_name
            for name in result["value"]["choices"]
        ]
        image = self._image(task, tag)
        if len(chosen) != 1 or image is None:
            return {"outcome": "ignored"}
        try:
            self._client.datasets.create(self._dataset)
        except ServiceError as error:
            if error.code != "name_taken":
                raise
        return self._add(image, chosen[0])

    def train(self) -> Json:
        """Teach the model what was annotated so far; somebody promotes the version that passes."""
        datasets = self._client.datasets
        digest = datasets.freeze(self._dataset)["digest"]
        same = (one for one in datasets.versions(self._dataset) if one["digest"] == digest)
        number = next(same)["number"]  # so that the same images are ordered once
        job = self._client.jobs.order_update(
            model=self._model,
            dataset=self._dataset,
            dataset_version=number,
            auto_promote=False,
            idempotency_key=f"label-studio-{digest}",
        )
        return {"job": job["id"], "dataset_version": number}

    def _add(self, image: ImageFile, class_name: str) -> Json:
        try:
            (receipt,) = self._client.datasets.upload(self._dataset, [(class_name, image)])
        except ServiceError as error:
            if error.code != "all_rejected":
                raise
            (receipt,) = error.facts["files"]
        if receipt["outcome"] == "label_conflict" and receipt["pixels"]:
            self._client.datasets.move_images(self._dataset, [receipt["pixels"]], to=class_name)
            return {"outcome": "moved"}
        return {"outcome": receipt["outcome"], "error": receipt["error"]}

    def _image(self, task: Json, tag: ChoicesTag) -> ImageFile | None:
        """Return the image of a task. Only Label Studio itself is asked for it."""
        url = urljoin(self._studio_url, str(task["data"].get(tag.image_key, "")))
        if not url.startswith(self._studio_url):
            return None
        with self._studio.stream("GET", url) as answer:
            if not answer.is_success:
                return None
            data = bytearray()
            for piece in answer.iter_bytes():
                data += piece
                if len(data) > MOST_IMAGE_BYTES:
                    return None
        name = PurePosixPath(unquote(urlsplit(url).path)).name
        return ImageFile(file_name=name or "image", data=bytes(data))


def _prediction(predictions: list[Any], tag: ChoicesTag, version: str) -> Json:
    if not predictions:
        return {"result": [], "score": 0.0, "model_version": version}
    best = predictions[0]
    choice = {
        "from_name": tag.from_name,
        "to_name": tag.to_name,
        "type": "choices",
        "value": {"choices": [best["class"]]},
        "score": best["probability"],
    }
    return {"result": [choice], "score": best["probability"], "model_version": version}


def create_app(settings: Mapping[str, str] = os.environ) -> FastAPI:
    """Return the application. With BASIC_AUTH_USER, Label Studio must send it and the password."""
    backend = Backend(settings)
    basic = HTTPBasic(auto_error=False)

    def authenticate(given: Annotated[HTTPBasicCredentials | None, Depends(basic)]) -> None:
        user, password = settings.get("BASIC_AUTH_USER"), settings.get("BASIC_AUTH_PASS", "")
        if user is None:
            return
        sent = f"{given.username}:{given.password}" if given else ""
        if not secrets.compare_digest(sent.encode(), f"{user}:{password}".encode()):
            raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        backend.close()

    app = FastAPI(dependencies=[Depends(authenticate)], lifespan=lifespan)

    @app.exception_handler(ServiceError)
    def refused(_: Request, error: ServiceError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, error.status)

    @app.exception_handler(KeyError)
    def incomplete(_: Request, error: KeyError) -> JSONResponse:
        return JSONResponse({"detail": f"The request has no field {error}."}, 400)

    @app.get("/")
    @app.get("/health")
    def health() -> Json:
        return {"status": "UP", "model_class": "Perennial"}

    @app.post("/setup")
    def setup(body: Json) -> Json:
        ChoicesTag.of(body.get("schema", ""))
        return {"model_version": backend.model_version}

    @app.post("/predict")
    def predict(body: Json) -> Json:
        results = backend.predict(body["tasks"], body["label_config"])
        return {"results": results, "model_version": backend.model_version}

    @app.post("/webhook", status_code=201)
    def webhook(body: Json) -> Json:
        match body.get("action"):
            case "ANNOTATION_CREATED" | "ANNOTATION_UPDATED":
                label_config = body["project"]["label_config"]
                return backend.annotated(body["task"], body["annotation"], label_config)
            case "START_TRAINING":
                return backend.train()
        return {"outcome": "ignored"}

    return app
