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
    overview,
    first_steps,
    model,
    version,
    changes,
    embedding_map,
    alias_moves,
    try_it,
    suites,
    policy,
    policy_change,
    trial,
    trial_samples,
    images,
    dataset_list,
    dataset,
    uploads,
    dataset_images,
    dataset_version,
    update_order,
    job_list,
    job,
    audit,
    api_keys,
    webhooks,
    webhook,
    sign_in,
    guide,
    static_files,
)
