"""The workbench in the terminal: screens over a session's state, one worker for the models."""
