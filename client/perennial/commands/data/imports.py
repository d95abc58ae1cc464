"""`perennial import`: an archive, a folder or a bucket of images into a dataset."""

from pathlib import Path

import click

from perennial.terminal.arguments import NEW_FILE, example, source
from perennial.terminal.output import json_option, print_json
from perennial.terminal.sending import OUTCOMES, import_bucket, send_archive
from perennial.terminal.session import connected


@click.command(
    "import",
    epilog=example(
        "perennial import products shoes.zip --report shoes.csv",
        "perennial import products s3://photos/shoes",
    ),
)
@click.argument("dataset")
@click.argument("images", metavar="SOURCE", type=source)
@click.option("--validate-only", is_flag=True, help="Only report what would happen to each file.")
@click.option("--report", type=NEW_FILE, metavar="FILE", help="Write the report as CSV.")
@click.option("--upload", metavar="ID", help="Resume an interrupted upload.")
@json_option
def import_images(
    dataset: str,
    images: Path | str,
    validate_only: bool,
    report: Path | None,
    upload: str | None,
    as_json: bool,
) -> None:
    """Import a folder, an archive or a bucket into a dataset.

    SOURCE is a folder, a zip, tar or tar.gz file, or s3://BUCKET/PREFIX, which the service itself
    reads if its operator allows it. All of its images are added, or none. Folders of images become
    classes, unless CSV or JSON Lines files beside the images list them.
    """
    with connected() as client:
        job = (
            import_bucket(client, dataset, images, validate_only=validate_only)
            if isinstance(images, str)
            else send_archive(client, dataset, images, upload=upload, validate_only=validate_only)
        )
        if report is not None:
            headers = {"Accept": "text/csv"}
            table = client.request("GET", job["links"]["report"], headers=headers)
            report.write_bytes(table.content)
    if as_json:
        print_json(job)
        return
    result = job["result"] or {}
    click.echo(", ".join(f"{result.get(outcome, 0)} {outcome}" for outcome in OUTCOMES))
