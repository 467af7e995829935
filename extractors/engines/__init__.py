"""What runs a backbone: PyTorch, OpenVINO, kernels of our own; and in which precision."""
