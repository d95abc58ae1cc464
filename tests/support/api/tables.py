"""Parquet files as `datasets` and others write them."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def parquet(columns: Mapping[str, Any], **written: Any) -> bytes:
    """A Parquet file of columns: lists of Python values, or Arrow arrays."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **written)
    return out.getvalue()


def as_datasets_writes(
    images: Sequence[bytes], labels: Sequence[int], class_names: Sequence[str], **written: Any
) -> bytes:
    """A Parquet file of images with paths, and of numbers of classes with their names."""
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
    }
    rows = [{"bytes": data, "path": f"{at}.png"} for at, data in enumerate(images)]
    table = pa.table({"image": rows, "label": pa.array(labels, pa.int64())})
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(told), out, **written)
    return out.getvalue()


def encrypted_parquet(*, plain_footer: bool) -> bytes:
    """A Parquet file with an encrypted column, and maybe an encrypted description of itself."""
    import pyarrow.parquet.encryption as pe

    class Keys(pe.KmsClient):
        def __init__(self, _: Any) -> None:
            super().__init__()

        def wrap_key(self, key: bytes, _: str) -> bytes:
            return key.hex().encode()

        def unwrap_key(self, key: bytes, _: str) -> bytes:
            return bytes.fromhex(key.decode())

    factory = pe.CryptoFactory(Keys)
    configuration = pe.EncryptionConfiguration(
        footer_key="footer", column_keys={"images": ["image"]}, plaintext_footer=plain_footer
    )
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), configuration)
    return parquet({"image": [b"a"], "label": ["b"]}, encryption_properties=properties)
