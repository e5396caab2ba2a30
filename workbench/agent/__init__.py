"""An LLM that audits with the same operations as a person, and the judges that grade audits.

request.py       a request to an endpoint, its answer, and the features of a server
endpoint.py      one attempt at a reply of an OpenAI-compatible endpoint
event_stream.py  the bytes of a reply, as JSON
assembling.py    a reply from its pieces
refusals.py      why a server refused a request
exchange.py      attempts, waits and replies, each an event
shown_evidence.py  operations that compute what an agent with the lens is shown
evidence.py      the part of a session that an agent may see, as plain data
quoting.py       audited text inside a fence
tools.py         the operations as tools, their schemas derived from the arguments
toolbox.py       which tools an agent has, and what a call of one gives
conversation.py  the messages so far, from the log, as an endpoint takes them
compacting.py    choice of the messages that are sent shortened
supervision.py   a person who watches, approves, takes over
handing_back.py  a person's actions meanwhile, in words
runners.py       ways to run its operations: on its own thread, or as jobs of a screen
budgets.py       limits of calls, tokens, interactions and time
prompts.py       its system prompt
loop.py          the audit itself
progress.py      its progress, read off its messages
scales.py        a judge that chooses the scales of readings
coherence.py     a judge of whether steered texts are coherent
rubrics.py, judging.py, grading.py, graders.py, agreement.py   grades
evaluation.py, scoreboard.py                       many audits, and what they amount to
"""
