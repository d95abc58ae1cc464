"""Places that an erasure cannot reach, as its certificate lists them."""

REMAINS = {
    "weights": "A marked version keeps its weights until it is deleted. Weights that no version "
    "names, of blames and of updates that have failed, stay until they are a day old and the next "
    "garbage collection. They were learned from the images, but hold none of their bytes.",
    "downloads": "Copies of marked versions and of images that clients have downloaded. A client "
    "may keep an image that it has fetched in its cache for a year.",
    "exports": "Exports of marked versions, until they are deleted, each by itself or with its "
    "version, and copies of them that clients have downloaded: `exports` of each version lists "
    "those that are stored now.",
    "vectors": "Vectors of the images and bridges that clients have downloaded, copies that the "
    "service has made for a download, until the first other one that it makes an hour or more "
    "after their last use, and what re-embeddings have stored that have failed or were cancelled, "
    "until it is a day old and the next garbage collection.",
    "archives": "Archives whose import had not ended, until a day after it and the next garbage "
    "collection, and files that were sent in parts, until they have expired and likewise: their "
    "import refuses the images, and so does one of a copy that is sent later.",
    "back_ups": "Back-ups that were made before the erasure, and any that a service before it is "
    "restored from: repeat the erasure after such a restore. The next back-up into the same folder "
    "deletes the images from it.",
    "database": "Thumbnails of 8 by 8 pixels: in SQLite's write-ahead log until the service stops "
    "or writes over it; in PostgreSQL's, also where it is archived, and in pages that are free and "
    "not written anew, which VACUUM FULL drops.",
    "store": "Former versions of objects, if the bucket of the artifact store keeps any.",
}
EXACTNESS = (
    "Where `exact` is true, a line that was taught without the images from the start has the same "
    "digest, if its orders were the same and it was trained in the environment after. On another "
    "kind of machine, with another release of torch or another number of threads, weights differ "
    "by rounding. The split is the same function of what is left, with one exception: "
    "near-duplicates of an erased image stay on the side on which it was."
)
