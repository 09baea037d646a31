"""Step: ONNX graphs, drift reference and model card into the artifact."""
