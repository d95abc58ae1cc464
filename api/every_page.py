"""Every page, in the order in which their routes are matched."""

from api.access import pages as audit
from api.comparison import pages as changes
from api.datasets import image_pages as suites
from api.datasets import order_pages as update_order
from api.datasets import pages as images
from api.first_steps import pages as first_steps
from api.guide import pages as guide
from api.inference import pages as try_it
from api.jobs import pages as job_list
from api.pages import static_files
from api.registry import pages as overview
from api.registry import policy_pages as policy
from api.trials import pages as trial
from api.vectors import pages as embedding_map
from api.webhooks import pages as webhooks

PAGES = (
    overview.overview_router,
    first_steps.router,
    overview.model_router,
    overview.version_router,
    changes.router,
    embedding_map.router,
    overview.router,
    try_it.router,
    suites.router,
    policy.router,
    policy.policy_change_router,
    trial.router,
    trial.trial_samples_router,
    images.images_router,
    images.dataset_list_router,
    images.router,
    images.uploads_router,
    suites.images_router,
    images.version_router,
    update_order.router,
    job_list.router,
    job_list.job_router,
    audit.audit_router,
    audit.router,
    webhooks.webhooks_router,
    webhooks.router,
    audit.sign_in_router,
    guide.router,
    static_files.router,
)
