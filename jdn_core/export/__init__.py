"""One file to ship: a detector as ONNX, PT2, TorchScript or OpenVINO, its quantisation, and its parity."""
