"""Runtimes that execute a model: OpenVINO, ONNX Runtime, Paddle Inference, and a fake for scheduling tests."""
