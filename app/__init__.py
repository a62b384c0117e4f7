"""The LoRA Inference API: the service."""
