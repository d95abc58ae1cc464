"""Every page, in the order in which their routes are matched."""

from api.pages.views import (
    alias_moves,
    changes,
    first_steps,
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
    trial,
    webhook,
    webhooks,
)

PAGES = (
    overview,
    first_steps,
    model,
    version,
    changes,
    alias_moves,
    try_it,
    policy,
    policy_change,
    trial,
    images,
    job_list,
    job,
    audit,
    api_keys,
    webhooks,
    webhook,
    sign_in,
    static_files,
)
