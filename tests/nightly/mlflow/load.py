"""Load a version by MLflow and classify images, sent in three ways; run by the Python that has it.

Prints JSON: of each way, what the model says of each image.
"""

import base64
import json
import sys
from pathlib import Path

import mlflow
import pandas as pd


def main() -> None:
    name, *files = sys.argv[1:]
    paths = [Path(file) for file in files]
    data = [path.read_bytes() for path in paths]
    texts = [base64.b64encode(one).decode() for one in data]
    model = mlflow.pyfunc.load_model(name)
    found = [
        model.predict(pd.DataFrame({"image": images}), params={"top_k": 3})
        for images in (data, texts, paths)
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
