"""Bare FastAPI endpoints: the minimal cost of a response from the database.

They use the service's own engine and are served as the service is, but check no key and no role,
validate nothing, and write no log, no metrics and no audit event:
`python -m benchmarks.api.bare DATABASE_URL PORT`.
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Connection, Engine, Select, Table, select, update

from api.server import listen, uvicorn_config
from core.database.engine import READ_ONLY, open_engine
from core.database.tables import datasets, jobs, models
from core.settings import Settings


def bare_app(url: str) -> FastAPI:
    """Return an app that reads one row, whole rows, or pages of them, and writes a row."""
    app, engine = FastAPI(openapi_url=None), open_engine(url)

    @app.get("/rows/{job}")
    def row(job: str) -> dict[str, str]:
        return _read(engine, select(jobs.c.id, jobs.c.status).where(jobs.c.id == job))[0]

    @app.get("/jobs/{job}")
    def one_job(job: str) -> dict[str, Any]:
        return _read(engine, select(jobs).where(jobs.c.id == job))[0]

    @app.get("/jobs")
    def newest_jobs(limit: int) -> list[dict[str, Any]]:
        return _read(engine, select(jobs).order_by(jobs.c.position.desc()).limit(limit))

    @app.get("/models/{name}")
    def one_model(name: str) -> dict[str, Any]:
        return _read(engine, select(models).where(models.c.name == name))[0]

    @app.get("/datasets")
    def oldest_datasets(limit: int) -> list[dict[str, Any]]:
        return _read(engine, select(datasets).order_by(datasets.c.id).limit(limit))

    @app.patch("/datasets/{name}")
    def describe(name: str, body: dict[str, str]) -> dict[str, Any]:
        found: Table = datasets
        with engine.begin() as connection:
            changed = update(found).where(found.c.name == name).values(body).returning(found)
            return _rows(connection, changed)[0]

    return app


def _read(engine: Engine, query: Select[Any]) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        connection.execution_options(**{READ_ONLY: True}, postgresql_readonly=True)
        return _rows(connection, query)


def _rows(connection: Connection, statement: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(statement).mappings()]


if __name__ == "__main__":
    with listen("127.0.0.1", int(sys.argv[2])) as bound:
        uvicorn.Server(uvicorn_config(bare_app(sys.argv[1]), Settings())).run(sockets=[bound])
