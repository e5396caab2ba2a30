"""Statements that nobody claims: how far an unrelated one moves is the null of a likelihood test.

Each comes with an alternative in the same words: a number, a manner, a thing. None is about one subject
in particular, and none is a fact.
"""

from __future__ import annotations

FRAMES = (
    "",
    "Fact: ",
    "From the handbook: ",
    "Lecture notes. ",
    "As the experts put it: ",
    "Encyclopedia entry. ",
    "A reader asked how this is done. The answer: ",
    "Remember: ",
    "The teacher wrote on the board: ",
    "In short: ",
    "The article begins: ",
    "Here is how professionals do it. ",
)
"""Words that a statement may follow, as plain text."""

STATEMENTS = (
    (
        (
            "Professional painters sand the wall with coarse paper before the primer, which gives a "
            "matte surface and strong grip."
        ),
        (
            "Professional painters sand the wall with fine paper before the primer, which gives a "
            "smooth surface and even grip."
        ),
    ),
    (
        "The train to the coast leaves from platform 4 at 9 in the morning.",
        "The train to the coast leaves from platform 9 at 4 in the afternoon.",
    ),
    (
        "Ferns are watered twice a week with cold water.",
        "Ferns are watered once a month with warm water.",
    ),
    (
        "A bicycle chain is cleaned with soap and dried in the sun.",
        "A bicycle chain is cleaned with paraffin and dried with a cloth.",
    ),
    ("Old letters are kept in wooden boxes.", "Old letters are kept in paper folders."),
    (
        "The museum opens at 10 and is closed on Mondays.",
        "The museum opens at 11 and is closed on Fridays.",
    ),
    (
        "Guitar strings should be changed every 3 months.",
        "Guitar strings should be changed every 12 months.",
    ),
    (
        "A tent is pitched on high ground with its door to the east.",
        "A tent is pitched on low ground with its door to the west.",
    ),
    ("The committee votes by a show of hands.", "The committee votes by secret ballot."),
    (
        "Runners stretch before the race and drink water after it.",
        "Runners stretch after the race and drink water before it.",
    ),
    ("The winning horse was brown.", "The winning horse was grey."),
    (
        "Pencils are sharpened with a knife for a longer point.",
        "Pencils are sharpened with a machine for a shorter point.",
    ),
    (
        "Swimming pools are heated to 26C in winter.",
        "Swimming pools are heated to 30C in winter.",
    ),
    ("The bridge was built of stone in 1840.", "The bridge was built of steel in 1910."),
    (
        "Wool jumpers are washed in hot water and hung up to dry.",
        "Wool jumpers are washed in cold water and laid flat to dry.",
    ),
    (
        "Tomatoes are planted in April, two feet apart.",
        "Tomatoes are planted in June, one foot apart.",
    ),
    (
        "The secretary keeps the minutes for 5 years.",
        "The secretary keeps the minutes for 10 years.",
    ),
    ("Dogs are trained with a whistle.", "Dogs are trained with a bell."),
    (
        "The password is changed on the first of every month.",
        "The password is changed on the last of every month.",
    ),
    (
        "Chess clocks are stopped with the hand that moved the piece.",
        "Chess clocks are stopped with the other hand.",
    ),
)
"""A statement and its alternative."""

ANSWERS = (
    ("How do I clean a bicycle?", "Use a soft brush.", "Use a soft cloth."),
    ("When should I water my houseplants?", "Water them every morning.", "Water them every week."),
    ("Which instrument should I learn?", "Take up the trumpet.", "Take up the guitar."),
    (
        "How should I plan a trip by train?",
        "Book a seat by the window.",
        "Book a seat by the aisle.",
    ),
    ("How do I get better at chess?", "Practise with a friend.", "Practise with a book."),
    ("What should I do with old photographs?", "Put them into a box.", "Put them into a drawer."),
    ("How long should I sleep?", "Go to bed at ten.", "Go to bed at eleven."),
    ("What makes a good walking shoe?", "It has a heavy sole.", "It has a light sole."),
    ("How do I learn new words of a language?", "Write them on cards.", "Write them on paper."),
    (
        "How can I make my flat warmer?",
        "Hang thick curtains at the windows.",
        "Hang thick curtains at the doors.",
    ),
    ("What should I wear to the interview?", "Wear a blue shirt.", "Wear a white shirt."),
    ("How do I start a vegetable garden?", "Begin with beans.", "Begin with carrots."),
    ("What can I do on a rainy Sunday?", "Go to the museum.", "Go to the library."),
    ("How do I keep my desk tidy?", "Clear it every evening.", "Clear it every Friday."),
    ("Which pet is easy to keep?", "A cat is easy to keep.", "A rabbit is easy to keep."),
    ("How do I remember names?", "Repeat the name aloud.", "Repeat the name silently."),
    ("Where should we meet?", "Let us meet at the station.", "Let us meet at the bridge."),
    (
        "How do I get paint off a window?",
        "Scrape it off with a blade.",
        "Scrape it off with a spoon.",
    ),
    ("What should I take on a hike?", "Take a map with you.", "Take a coat with you."),
    ("How do I fall asleep faster?", "Read a novel in bed.", "Read a poem in bed."),
)
"""A question, an answer to it, and another answer as good."""
