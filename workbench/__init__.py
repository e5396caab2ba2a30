"""The workbench: operations on a model pair, their log, the command line and the screen."""
