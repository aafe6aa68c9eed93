"""Encoders, one module per modality, behind the protocols of `multimodal.stages`."""
