"""Agents as ONNX files that go on adapting without PyTorch: what `quickstudy export` writes and `quickstudy.runtime` runs."""
