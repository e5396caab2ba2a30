"""An LLM that audits with the same operations as a person, and the judges that grade audits.

endpoint.py      one attempt at a reply of an OpenAI-compatible endpoint
event_stream.py  the bytes of a reply, as JSON
assembling.py    a reply from its pieces
refusals.py      why a server refused a request
exchange.py      attempts, waits and replies, each an event
evidence.py      what of a session may be shown, as plain data
quoting.py       audited text inside a fence
blinding.py      names and their aliases, both ways
tools.py         the operations as tools, their schemas derived from the arguments
toolbox.py       which tools an agent has, and what a call of one gives
conversation.py  the messages so far, from the log, as an endpoint takes them
compacting.py    which of them are sent shortened when they are too many
supervision.py   a person who watches, approves, takes over
handing_back.py  what a person did meanwhile, in words
runners.py       who does its operations: its own thread, or the jobs of a screen
budgets.py       what it may take
prompts.py       what it is told of its task
sealing.py       names and ground truth, hidden until they are graded against
hidden_sessions.py  lists of sessions as they may be seen
loop.py          the audit itself
progress.py      where it stands, read off its messages
scales.py        a judge that chooses the scales of readings
coherence.py     a judge of whether steered texts are coherent
rubrics.py, judging.py, grading.py, graders.py, agreement.py   grades
evaluation.py, scoreboard.py                       many audits, and what they amount to
"""
