"""Every page, in the order in which their routes are matched."""

from api.pages.views import (
    alias_moves,
    changes,
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

PAGES = (
    overview,
    model,
    version,
    changes,
    alias_moves,
    try_it,
    images,
    job_list,
    job,
    sign_in,
    static_files,
)
