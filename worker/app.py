"""The Celery app: a doorbell between processes, never the keeper of a job."""

from celery import Celery
from celery.worker import WorkController
from kombu.entity import Exchange
from kombu.entity import Queue as BrokerQueue

from core.adapters.broker.options import name_of, transport, transport_options
from core.domain.jobs.job import Queue
from core.settings import Settings


def make_app(settings: Settings) -> Celery:
    """An app on the broker of these settings; it can send at once, and work once tasks are added.

    A message is gone once it has arrived and no result is kept: what became of a job stands in
    the database.
    """
    app = Celery("perennial", broker=settings.broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,  # for ever: a broker that is away comes back
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=4.0,
        broker_transport=transport(settings),
        broker_transport_options=transport_options(settings),
        task_acks_late=False,
        task_ignore_result=True,
        task_queues=[_queue(name_of(queue)) for queue in Queue],
        worker_concurrency=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_pool="solo",
        worker_prefetch_multiplier=1,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
    )
    return app


def make_worker(app: Celery, settings: Settings, *, owner: str) -> WorkController:
    """What hears the rings in the queues of these settings, in the thread that starts it."""
    return app.Worker(
        hostname=f"perennial@{owner}",
        queues=[name_of(Queue(queue)) for queue in settings.queues],
        quiet=True,
        # The event loop swallows some errors of a broker that dies, and is deaf from then on. The
        # plain loop meets them.
        use_eventloop=False,
        without_gossip=True,
        without_heartbeat=True,
        without_mingle=True,
    )


def _queue(name: str) -> BrokerQueue:
    """A queue as Celery makes it, but for acknowledgements.

    Celery swallows the error of one that fails; the message then counts as open for ever, and no
    other is asked for.
    """
    exchange = Exchange(name)  # type: ignore[no-untyped-call]
    return BrokerQueue(name, exchange, routing_key=name, no_ack=True)  # type: ignore[no-untyped-call]
