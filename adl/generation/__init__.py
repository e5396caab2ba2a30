"""Text of both models: steered and unsteered samples, and answers to the same question."""

from adl.generation.asking import Question, answer_kl, first_divergence, question_requests
from adl.generation.sampling import SamplingListener, sample
from adl.generation.steering import Sample, SteeringVector, samples, steering_requests
from adl.records import GenerationPlan

__all__ = [
    "GenerationPlan",
    "Question",
    "Sample",
    "SamplingListener",
    "SteeringVector",
    "answer_kl",
    "first_divergence",
    "question_requests",
    "sample",
    "samples",
    "steering_requests",
]
