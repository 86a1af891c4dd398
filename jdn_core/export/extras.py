"""Packages that only an export needs: imported when they are used, named with their command when missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from jdn_core.errors import UsageError

_EXTRAS = {"onnx": "export", "onnxruntime": "export", "onnxscript": "export", "openvino": "openvino"}


def extra(module: str) -> Any:
    """Imports a module of an optional package, such as ``onnxruntime.quantization``.

    Raises:
        UsageError: the package is not installed.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        what = f"the package {package} is not installed; pip install 'jdn[{_EXTRAS[package]}]'"
        raise UsageError(what) from None
