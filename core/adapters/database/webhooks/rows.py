"""Conversion of deliveries to and from rows."""

from typing import Any

from sqlalchemy import Row

from core.adapters.database.tables.webhooks import deliveries
from core.domain.webhooks.delivery import Delivery, DeliveryStatus

DELIVERY_COLUMNS = tuple(deliveries.c[name] for name in Delivery.__dataclass_fields__)


def to_row(delivery: Delivery) -> dict[str, Any]:
    """Return the column values of a delivery."""
    return dict(vars(delivery))


def to_delivery(row: Row[Any]) -> Delivery:
    """Return the delivery of a row of DELIVERY_COLUMNS."""
    return Delivery(**{**row._mapping, "status": DeliveryStatus(row.status)})
