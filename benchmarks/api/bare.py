"""A bare FastAPI endpoint that reads one row: the minimal cost of a response from the database.

It uses the service's own engine and is served as the service is:
`python -m benchmarks.api.bare DATABASE_URL PORT`.
"""

import sys

import uvicorn
from fastapi import FastAPI
from sqlalchemy import select

from api.server.listening import listen, uvicorn_config
from core.adapters.database.engine import READ_ONLY, open_engine
from core.adapters.database.tables.jobs import jobs
from core.settings import Settings


def bare_app(url: str) -> FastAPI:
    """Return an app whose `GET /rows/{job}` reads a job's id and status.

    It checks no key, writes no log and counts no metrics.
    """
    app, engine = FastAPI(openapi_url=None), open_engine(url)

    @app.get("/rows/{job}")
    def read(job: str) -> dict[str, str]:
        with engine.connect() as connection:
            connection.execution_options(**{READ_ONLY: True}, postgresql_readonly=True)
            query = select(jobs.c.id, jobs.c.status).where(jobs.c.id == job)
            row = connection.execute(query).one()
        return {"id": row.id, "status": row.status}

    return app


if __name__ == "__main__":
    with listen("127.0.0.1", int(sys.argv[2])) as bound:
        uvicorn.Server(uvicorn_config(bare_app(sys.argv[1]), Settings())).run(sockets=[bound])
