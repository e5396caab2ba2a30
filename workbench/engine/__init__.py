"""Sessions at work, and the engine that keeps them at work for whoever attaches."""
