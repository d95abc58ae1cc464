"""A client of Perennial, the service that teaches CLIP models new classes without forgetting."""

from perennial.aio.client import AsyncClient
from perennial.client import Client
from perennial.errors import JobFailed, ServiceError
from perennial.requests import ImageFile

__all__ = ["AsyncClient", "Client", "ImageFile", "JobFailed", "ServiceError"]
