"""Agreement of graders: Krippendorff's alpha."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from workbench.store.agent_events import GradeGiven
from workbench.store.events import Actor


def krippendorff_alpha(grades: Mapping[str, Mapping[str, float]]) -> float | None:
    """Krippendorff's alpha on an ordinal scale of ``{grader: {subject: grade}}``.

    1 is full agreement, 0 that of chance. None where it is not defined: fewer than two subjects that
    were graded twice, or all grades alike.

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".
    """
    by_subject: dict[str, list[float]] = {}
    for graded in grades.values():
        for subject, grade in graded.items():
            by_subject.setdefault(subject, []).append(grade)
    # A subject graded once has nothing to agree with.
    subjects = [found for found in by_subject.values() if len(found) > 1]
    values = sorted({value for found in subjects for value in found})
    if len(subjects) < 2 or len(values) < 2:
        return None
    # How often each subject was given each value, (subjects, values).
    counts = np.array([[found.count(value) for value in values] for found in subjects], dtype=float)
    # Coincidences, (values, values): ordered pairs of grades of one subject, each subject's
    # weighted so that they add up to the number of its grades.
    weighted = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidences = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    totals = counts.sum(axis=0)
    # Ordinal distances, (values, values): the grades that lie from one value to the other, those
    # at the two ends counted by half; squared. `middles` are the grades up to half of each value's.
    middles = np.cumsum(totals) - totals / 2
    distances = np.subtract.outer(middles, middles) ** 2
    observed = np.sum(coincidences * distances) / totals.sum()
    by_chance = totals @ distances @ totals / (totals.sum() * (totals.sum() - 1))
    return float(1 - observed / by_chance)


def by_grader(
    grades: Iterable[tuple[str, Actor, GradeGiven]],
) -> dict[str, dict[str, float]]:
    """Grades of reports as ``{grader: {subject: grade}}``, from (session, who, grade).

    The repeats of one judge are graders of their own. Unscored ones are left out, as alpha allows.
    """
    found: dict[str, dict[str, float]] = {}
    seen: dict[tuple[str, str], int] = {}
    for session_id, actor, grade in grades:
        if grade.grader != "report" or grade.score is None:
            continue
        subject = f"{session_id} {grade.subject}"
        name = actor.who
        number = seen[name, subject] = seen.get((name, subject), 0) + 1
        grader = name if number == 1 else f"{name} #{number}"
        found.setdefault(grader, {})[subject] = grade.score
    return found
