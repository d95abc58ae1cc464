"""Every page, in the order in which their routes are matched."""

from api.pages.views import (
    alias_moves,
    changes,
    embedding_map,
    first_steps,
    guide,
    images,
    job,
    job_list,
    model,
    overview,
    sign_in,
    static_files,
    try_it,
    version,
)
from api.pages.views.administration import (
    api_keys,
    audit,
    policy,
    policy_change,
    suites,
    trial,
    trial_samples,
    webhook,
    webhooks,
)
from api.pages.views.datasets import dataset, dataset_list, update_order, uploads
from api.pages.views.datasets import images as dataset_images
from api.pages.views.datasets import version as dataset_version

PAGES = (
    overview.router,
    first_steps.router,
    model.router,
    version.router,
    changes.router,
    embedding_map.router,
    alias_moves.router,
    try_it.router,
    suites.router,
    policy.router,
    policy_change.router,
    trial.router,
    trial_samples.router,
    images.router,
    dataset_list.router,
    dataset.router,
    uploads.router,
    dataset_images.router,
    dataset_version.router,
    update_order.router,
    job_list.router,
    job.router,
    audit.router,
    api_keys.router,
    webhooks.router,
    webhook.router,
    sign_in.router,
    guide.router,
    static_files.router,
)
