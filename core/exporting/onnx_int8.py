"""Weights of 8 bits in ONNX files, and activations that are rounded to 8 bits as they come."""

from pathlib import Path

from core.exporting.onnx_folder import IMAGE_FILE, TEXT_FILE

# Convolutions stay: ONNX Runtime computes theirs of 8 bits more slowly than the others.
ROUNDED = ["MatMul", "Gemm", "Gather"]


def round_weights(folder: Path) -> None:
    """Replace both towers by their dynamic quantisation, whose weights have a scale a channel."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name in (IMAGE_FILE, TEXT_FILE):
        path, rounded = folder / name, folder / f"{name}.rounded"
        outside = path.with_name(f"{name}.data")
        quantize_dynamic(
            path,
            rounded,
            op_types_to_quantize=ROUNDED,
            per_channel=True,
            weight_type=QuantType.QUInt8,  # signed ones overflow on processors without VNNI
            use_external_data_format=outside.exists(),
        )
        outside.unlink(missing_ok=True)
        rounded.replace(path)
