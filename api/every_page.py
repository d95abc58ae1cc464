"""Every page, in the order in which their routes are matched."""

from api.access import pages as access
from api.access import sign_in_pages as sign_in
from api.comparison import pages as changes
from api.datasets import deletion_pages as dataset_deletions
from api.datasets import image_pages as images
from api.datasets import order_pages as order
from api.datasets import pages as datasets
from api.datasets import upload_pages as uploads
from api.erasure import pages as erasures
from api.first_steps import pages as first_steps
from api.gate import label_pages as labels
from api.gate import pages as gate
from api.guide import pages as guide
from api.imports import pages as imports
from api.inference import pages as try_it
from api.jobs import pages as jobs
from api.pages import browsing
from api.registry import deletion_pages as deletions
from api.registry import file_pages as files
from api.registry import move_pages as moves
from api.registry import pages as models
from api.trials import pages as trials
from api.vectors import pages as embedding_map
from api.webhooks import pages as webhooks

PAGES = (
    models.router,
    deletions.router,
    files.router,
    moves.router,
    first_steps.router,
    changes.router,
    embedding_map.router,
    try_it.router,
    gate.router,
    labels.router,
    trials.router,
    datasets.router,
    dataset_deletions.router,
    erasures.router,
    images.router,
    uploads.router,
    imports.router,
    order.router,
    jobs.router,
    access.router,
    webhooks.router,
    sign_in.router,
    guide.router,
    browsing.router,
)
