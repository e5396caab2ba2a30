"""The Activation Difference Lens: reads what narrow finetuning left in a model's activations."""
