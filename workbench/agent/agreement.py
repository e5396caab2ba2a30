"""How far graders agree: Krippendorff's alpha, through nltk."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

from workbench.store.agent_events import GradeGiven
from workbench.store.events import Actor


def krippendorff_alpha(grades: Mapping[str, Mapping[str, float]]) -> float | None:
    """Krippendorff's alpha on an ordinal scale of ``{grader: {subject: grade}}``.

    1 is full agreement, 0 that of chance. None where it says nothing: fewer than two subjects that were
    graded twice, or all grades alike.

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".
    """
    by_subject: dict[str, list[float]] = {}
    for graded in grades.values():
        for subject, grade in graded.items():
            by_subject.setdefault(subject, []).append(grade)
    # Only what was graded twice says anything of agreement.
    pairable = {subject for subject, found in by_subject.items() if len(found) > 1}
    values = [value for subject in pairable for value in by_subject[subject]]
    if len(pairable) < 2 or len(set(values)) < 2:
        return None
    counts = {value: values.count(value) for value in set(values)}

    def ordinal(one: float, other: float) -> float:
        """Krippendorff's ordinal metric: the grades lying between, those at the ends by half."""
        low, high = min(one, other), max(one, other)
        between = sum(count for value, count in counts.items() if low <= value <= high)
        return float((between - (counts[low] + counts[high]) / 2) ** 2)

    # Its import is the slowest of all, and alpha is seldom asked for.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nltk.metrics.agreement import AnnotationTask

    triples = [
        (grader, subject, grade)
        for grader, graded in grades.items()
        for subject, grade in graded.items()
        if subject in pairable
    ]
    return float(AnnotationTask(data=triples, distance=ordinal).alpha())


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
        name = actor.name or actor.kind
        number = seen[name, subject] = seen.get((name, subject), 0) + 1
        grader = name if number == 1 else f"{name} #{number}"
        found.setdefault(grader, {})[subject] = grade.score
    return found
