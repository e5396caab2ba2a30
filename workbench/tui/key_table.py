"""All keys of the panes and screens, in one table from which their bindings derive.

A key has one meaning on all panes, and a command has the same keys wherever it applies. Help, the
command palette, the bottom line and docs/keys.md are made from the table; ``[keys]`` of ``config.toml``
gives an idea other keys by its id. Fields, forms and dialogs, in which letters are text or answers,
declare what they need beside Enter, Escape and the arrows where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Panes in the order of their digits; then all places whose keys can meet.
_NUMBERED: Final = {
    "pair": "Pair",
    "readings": "Readings",
    "steering": "Steering",
    "chat": "Chat",
    "hypotheses": "Hypotheses",
    "timeline": "Timeline",
    "agent": "Agent",
}
PANES: Final = {
    "audit": "Anywhere on the audit screen",
    **_NUMBERED,
    "list": "In lists",
    "rows": "In lists whose rows open",
    "table": "In tables",
    "replay": "In a replay",
}
_LISTS: Final = ("list", "rows", "table")
#: Screens that have no panes; their keys cannot meet those of panes.
SCREENS: Final = {
    "start": "Start screen",
    "loading": "While a pair is loaded",
    "sessions": "Sessions",
    "measures": "Measures",
}
PLACES: Final = PANES | SCREENS
#: Places in which one key may not have two meanings.
SURFACES: Final = (frozenset(PANES), frozenset({*SCREENS, *_LISTS}))


@dataclass(frozen=True)
class Use:
    """A command in one place: the action, its title, and a sentence about it."""

    place: str
    action: str
    title: str
    tooltip: str = ""
    show: bool = False
    "The bottom line has it, if there is room."
    priority: bool = False
    "It goes before the keys of whatever has the focus."


@dataclass(frozen=True)
class Key:
    """A command: its id in ``config.toml``, its keys as Textual names them, its uses."""

    id: str
    keys: str
    uses: tuple[Use, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The keys as a list."""
        return tuple(self.keys.split(","))


TABLE: Final[tuple[Key, ...]] = (
    # --- what one comes to a pane for: first in the bottom line -------------------------------
    Key("play", "space", (
        Use("replay", "play", "Play", "Play, or pause", show=True, priority=True),
        Use("agent", "hand('pause')", "Pause", "Finish the current step, then wait", show=True),
        Use("agent", "hand('go_on')", "Go on", "End the pause", show=True),
        Use("agent", "resume", "Resume", "Go on with the interrupted audit", show=True),
    )),
    Key("step", "greater_than_sign", (
        Use("replay", "step(1)", "Step", "Go on by one event", show=True, priority=True),
    )),
    Key("step_back", "less_than_sign", (
        Use("replay", "step(-1)", "Back", "Go back by one event", show=True, priority=True),
    )),
    Key("steer", "s", (
        Use("steering", "steer", "Steer", "Write steered and unsteered texts", show=True),
        Use("chat", "steer", "Steer", "Steer the next answers, or stop steering them"),
    )),
    Key("sweep", "S", (
        Use("steering", "sweep", "Sweep", "Write short texts at each alpha of the sweep", show=True),
    )),
    Key("reading", "r", (
        Use("readings", "reading(1)", "Reading", "Next reading", show=True),
    )),
    Key("reading_back", "R", (
        Use("readings", "reading(-1)", "Previous reading", "Previous reading"),
    )),
    Key("new", "o", (
        Use("steering", "edit('prompt')", "Own prompt", "Write a prompt of your own"),
        Use("chat", "new", "New", "Write a question that starts a new conversation"),
        Use("hypotheses", "add", "Add", "Add a hypothesis", show=True),
        Use("agent", "begin", "Start", "Start an agent", show=True),
        Use("start", "new", "New pair", "Type the names of a pair", show=True),
        Use("measures", "state", "Hypothesis", "State a lead of the measure as a hypothesis", show=True),
    )),
    Key("open", "enter", (
        Use("steering", "steer", "Steer", "Write steered and unsteered texts"),
        Use("chat", "write", "Ask", "Go to the field, to write a question", show=True),
        Use("agent", "detail", "In full", "Show the whole turn"),
        Use("rows", "choose", "Open", "Open the row under the cursor"),
    )),
    Key("follow_up", "F", (
        Use("chat", "follow", "Follow up", "Follow up the answer marked with ●", show=True),
    )),
    Key("edit", "e", (
        Use("chat", "edit", "Edit", "Edit this question and send it again", show=True),
        Use("hypotheses", "revise", "Revise",
            "Change the wording or the confidence, with a reason", show=True),
        Use("start", "edit", "Edit", "Change the pair under the cursor before opening it", show=True),
    )),
    Key("accept", "y", (
        Use("hypotheses", "judge('confirmed')", "Confirm", "Confirm the hypothesis", show=True),
        Use("agent", "approve", "Approve", "Approve the call the agent asks about", show=True),
    )),
    Key("decline", "d", (
        Use("hypotheses", "judge('rejected')", "Reject", "Reject it, with a reason", show=True),
        Use("agent", "refuse", "Refuse", "Refuse the call, with a reason for the agent", show=True),
    )),
    Key("again", "exclamation_mark", (
        Use("chat", "again", "Again", "Ask this again with the next seeds"),
    )),
    Key("write_to", "W", (
        Use("agent", "tell", "Write to it", "Write to the agent", show=True),
    )),
    Key("hand_over", "h", (
        Use("agent", "hand('take_over')", "Take over", "Work in the agent's place", show=True),
        Use("agent", "hand_back", "Hand back",
            "Let the agent go on; it gets a list of what you did", show=True),
    )),
    # --- where, with which vector, on which side, how strongly ---------------------------------
    Key("side", "b", (
        Use("readings", "side", "Side", "Read on the other model, base or finetuned", show=True),
        Use("steering", "edit('side')", "Side", "Steer the other model, base or finetuned"),
        Use("chat", "side", "Side", "Continue with the other model's answer", show=True),
    )),
    Key("vector", "v", (
        Use("readings", "source(1)", "Vector",
            "Next vector: the difference, its negative (said less), nulls, means", show=True),
        Use("steering", "edit('source')", "Vector",
            "Next vector: the difference, or a null of the same length"),
    )),
    Key("vector_back", "V", (
        Use("readings", "source(-1)", "Previous vector", "Previous vector"),
    )),
    Key("carrier", "semicolon", (
        Use("steering", "edit('carrier')", "Carrier",
            "Next carrier: the difference, the logits, the adapter, its rank-1 part"),
    )),
    Key("layer", "l", (
        Use("readings", "layer(1)", "Layer", "Next layer that was measured or read", show=True),
        Use("steering", "edit('layer')", "Layer", "Type the layer of the difference"),
        Use("chat", "settings('layer')", "Layer", "Set the layer that answers are steered at"),
    )),
    Key("layer_back", "L", (
        Use("readings", "layer(-1)", "Previous layer", "Previous layer"),
    )),
    Key("position", "p", (
        Use("steering", "edit('position')", "Position", "Next measured position"),
        Use("chat", "settings('position')", "Position", "Set the position of the difference"),
    )),
    Key("alpha", "equals_sign", (
        Use("steering", "edit('alpha')", "Alpha", "Type alpha"),
        Use("chat", "settings('alpha')", "Alpha", "Set the alpha that answers are steered with"),
    )),
    Key("alpha_up", "full_stop,shift+right", (
        Use("readings", "scale(1)", "Larger alpha", "Next larger alpha or scale"),
        Use("steering", "nudge(0.1)", "Much stronger", "Raise alpha by 0.1"),
    )),
    Key("alpha_down", "comma,shift+left", (
        Use("readings", "scale(-1)", "Smaller alpha", "Next smaller alpha or scale"),
        Use("steering", "nudge(-0.1)", "Much weaker", "Lower alpha by 0.1"),
    )),
    Key("alpha_chosen", "asterisk", (
        Use("readings", "chosen", "Chosen alpha", "The alpha or scale that the rule chose"),
        Use("steering", "suggestion", "Suggested alpha", "Next alpha that the shift lens chose"),
    )),
    Key("temperature", "t", (
        Use("steering", "edit('temperature')", "Temperature", "Type the temperature; 0 is greedy"),
        Use("chat", "settings('temperature')", "Temperature", "Set the temperature; 0 is greedy"),
    )),
    Key("seed", "D", (
        Use("steering", "edit('seed')", "Seed", "Type the first seed; each sample takes the next"),
        Use("chat", "settings('seed')", "Seed", "Set the first seed; each sample takes the next"),
    )),
    Key("tokens", "X", (
        Use("steering", "edit('tokens')", "Tokens", "Type the most tokens of a text"),
        Use("chat", "settings('max_new_tokens')", "Tokens", "Set the most tokens of an answer"),
    )),
    Key("samples", "number_sign", (
        Use("steering", "edit('samples')", "Samples", "Type the number of samples per prompt"),
        Use("chat", "settings('n_samples')", "Samples", "Set the number of answers per question"),
    )),
    Key("thinking", "I", (
        Use("steering", "edit('thinking')", "Thinking", "Thoughts before the answer: auto, on, off"),
        Use("chat", "settings('thinking')", "Thinking", "Thoughts before the answer: auto, on, off"),
    )),
    Key("everyday", "Y", (
        Use("steering", "edit('everyday')", "Everyday prompts", "How many bundled prompts to take"),
    )),
    Key("sweep_alphas", "A", (
        Use("steering", "edit('sweep')", "Sweep alphas", "Type the alphas of a sweep"),
    )),
    Key("prefill", "quotation_mark", (
        Use("chat", "prefill", "Prefill", "Write the words that the answers begin with"),
    )),
    Key("settings", "f3,g", (
        Use("steering", "settings", "Settings", "Go to the settings, to change them with the arrows"),
        Use("chat", "settings", "Settings", "System turn, samples, seed, steering and more", show=True),
        Use("agent", "policy", "Asks", "When it asks: never, before spending, always", show=True),
    )),
    Key("next_draft", "f4", (
        Use("chat", "next_draft", "New or follow-up",
            "What the question follows: nothing, base's answer, finetuned's answer"),
    )),
    Key("measure", "M", (
        Use("readings", "read", "Measure", "Measure and read at this layer or another", show=True),
        Use("steering", "measure", "Measure", "Measure the difference at the chosen layer", show=True),
    )),
    Key("filter", "f", (
        Use("readings", "unfiltered", "All",
            "Whole words, then with those of style struck out, then all tokens"),
        Use("timeline", "kind(1)", "Kind", "Next kind of events, or all", show=True),
    )),
    # The mark comes before what only changes the view: at 80 columns the line has no room for all.
    Key("mark", "m", (
        Use("readings", "mark", "Mark", "Mark the token as evidence, or take it back", show=True),
        Use("steering", "keep(True)", "Mark", "Mark the steered text, or take it back", show=True),
        Use("chat", "mark", "Mark", "Mark the answer with ● as evidence", show=True),
        Use("hypotheses", "unmark", "Unmark", "Take the selected mark back, with a reason"),
        Use("timeline", "mark", "Mark", "Mark the event as evidence", show=True),
        Use("agent", "mark", "Mark", "Mark the turn as evidence"),
    )),
    # --- what is shown ------------------------------------------------------------------------
    Key("null", "0", (
        Use("readings", "beside", "Null",
            "Show the nulls, and the readings hidden for being no better; or hide both", show=True),
    )),
    Key("who", "H", (
        Use("timeline", "actor(1)", "Who", "Events of everyone, or of one actor", show=True),
    )),
    Key("plot", "P", (
        Use("readings", "plot", "Plot", "Plot the norms: positions, layers, off", show=True),
    )),
    Key("growth", "Z", (
        Use("timeline", "growth", "Pieces", "Show or hide the pieces of texts as they grew"),
    )),
    Key("compare", "C", (
        Use("steering", "compare", "Compare", "Two marked samples side by side, and back", show=True),
        Use("sessions", "compare", "Compare", "Compare the chosen sessions", show=True),
    )),
    Key("older", "left_square_bracket", (
        Use("steering", "browse(-1)", "Older",
            "Older steering; when comparing, the sample on the left", show=True),
        Use("agent", "run(-1)", "Older agent", "The agent before this one"),
    )),
    Key("newer", "right_square_bracket", (
        Use("steering", "browse(1)", "Newer",
            "Newer steering; when comparing, the sample on the left", show=True),
        Use("agent", "run(1)", "Newer agent", "The agent after this one"),
    )),
    # --- evidence and verdicts ----------------------------------------------------------------
    Key("mark_unsteered", "U", (
        Use("steering", "keep(False)", "Mark unsteered", "Mark the unsteered text, or take it back"),
    )),
    Key("tests", "percent_sign", (
        Use("hypotheses", "tests", "Test", "Test the hypothesis, or look at its tests", show=True),
    )),
    Key("for", "plus", (
        Use("readings", "mark_for", "Mark for", "Mark the token as evidence for the top ranked hypothesis"),
        Use("hypotheses", "link('for')", "For",
            "Link the selected evidence: it speaks for the hypothesis", show=True),
    )),
    Key("against", "minus", (
        Use("hypotheses", "link('against')", "Against",
            "Link the selected evidence: it speaks against the hypothesis", show=True),
    )),
    Key("remove", "delete,backspace", (
        Use("hypotheses", "link('none')", "Unlink", "Unlink the selected evidence"),
        Use("sessions", "delete", "Delete", "Delete the session; asks for its name", show=True),
    )),
    Key("open_again", "O", (
        Use("hypotheses", "judge('open')", "Open again", "Take the verdict back"),
    )),
    Key("rank_up", "K,shift+up", (
        Use("hypotheses", "rank(-1)", "Rank up", "Rank it higher"),
    )),
    Key("rank_down", "J,shift+down", (
        Use("hypotheses", "rank(1)", "Rank down", "Rank it lower"),
    )),
    Key("grade", "E", (
        Use("agent", "grade", "Grade", "Grade the agent's report", show=True),
    )),
    Key("grades", "Q", (
        Use("agent", "grades", "Grades", "All grades, and earlier versions of them"),
    )),
    # --- looking up, taking along -------------------------------------------------------------
    Key("search", "slash", (
        Use("timeline", "search", "Search", "Search, or go to #number", show=True),
        Use("start", "search", "Search", "Search the sessions", show=True),
        Use("sessions", "search", "Search", "Search names and texts", show=True),
    )),
    Key("find_next", "n", (
        Use("timeline", "find(1)", "Next hit", "Next event that matches"),
    )),
    Key("find_back", "N", (
        Use("timeline", "find(-1)", "Previous hit", "Previous event that matches"),
    )),
    Key("detail", "i", (
        Use("hypotheses", "history", "History", "Show how the hypothesis came about"),
        Use("timeline", "detail", "Fields", "Show all fields of the event", show=True),
        Use("agent", "detail", "In full", "Show the whole turn"),
    )),
    Key("copy", "c", (
        Use("readings", "copy", "Copy", "Copy the list under the cursor"),
        Use("steering", "copy", "Copy", "Copy the texts under the cursor"),
        Use("chat", "copy", "Copy", "Copy the answer marked with ●"),
        Use("hypotheses", "copy", "Copy", "Copy what is selected"),
        Use("timeline", "copy", "Copy", "Copy the event with its fields"),
        Use("agent", "copy", "Copy", "Copy the turn"),
        Use("sessions", "copy_id", "Copy id", "Copy the session's id", show=True),
        Use("measures", "copy", "Copy", "Copy what is shown", show=True),
    )),
    Key("write", "w", (
        Use("readings", "write", "Write", "Write the table to a file"),
        Use("steering", "write", "Write", "Write the texts under the cursor to a file"),
        Use("chat", "export", "Write", "Write the conversation up to this turn to a file"),
        Use("hypotheses", "write", "Write", "Write all hypotheses to a file"),
        Use("sessions", "report", "Report", "Write the session's report to files"),
    )),
    # --- a recording --------------------------------------------------------------------------
    Key("change", "right_curly_bracket", (
        Use("replay", "change(1)", "Change", "Next change of a hypothesis", show=True),
    )),
    Key("change_back", "left_curly_bracket", (
        Use("replay", "change(-1)", "Previous change", "Previous change of a hypothesis"),
    )),
    Key("go_to", "colon", (
        Use("replay", "go_to_event", "Go to", "Go to an event by number", show=True),
    )),
    Key("faster", "right_parenthesis", (
        Use("replay", "speed(1)", "Faster", "Play faster", show=True, priority=True),
    )),
    Key("slower", "left_parenthesis", (
        Use("replay", "speed(-1)", "Slower", "Play slower", priority=True),
    )),
    Key("turns", "T", (
        Use("replay", "turns", "Turns", "Stop at all turns, at yours, or at the agent's", show=True),
    )),
    Key("follow", "ctrl+f", (
        Use("replay", "follow", "Follow", "Go to each event's pane as it comes, or stay"),
    )),
    Key("start", "circumflex_accent,ctrl+home", (
        Use("replay", "seek(0)", "To the start", "Go to the start of the session"),
    )),
    Key("end", "dollar_sign,ctrl+end", (
        Use("replay", "seek(-1)", "To the end", "Go to the end of the session"),
    )),
    Key("branch", "B", (
        Use("replay", "branch", "Branch", "Start a session that goes on from here", show=True),
    )),
    # --- lists and arrows ---------------------------------------------------------------------
    Key("up", "up,k", (
        Use("list", "move(-1)", "Up", "One row up"),
    )),
    Key("down", "down,j", (
        Use("list", "move(1)", "Down", "One row down"),
    )),
    Key("page_up", "pageup", (
        Use("list", "page(-1)", "Page up", "One screenful up"),
    )),
    Key("page_down", "pagedown", (
        Use("list", "page(1)", "Page down", "One screenful down"),
    )),
    Key("first", "home", (
        Use("list", "to(0)", "First", "First row"),
    )),
    Key("last", "end,G", (
        Use("list", "to(-1)", "Last", "Last row"),
    )),
    Key("left", "left", (
        Use("table", "move_column(-1)", "Column to the left", "One column to the left"),
        Use("measures", "to_list", "List", "Back to the list", show=True),
        Use("steering", "other(-1)", "Earlier on the right", "Comparing: earlier sample on the right"),
        Use("steering", "nudge(-0.01)", "Weaker", "Lower alpha by 0.01"),
        Use("chat", "sample(-1)", "Previous sample", "Previous sample"),
        Use("hypotheses", "to_hypotheses", "Hypotheses", "Go to the hypotheses"),
        Use("timeline", "fold", "Fold", "Hide the events of the operation"),
    )),
    Key("right", "right", (
        Use("table", "move_column(1)", "Column to the right", "One column to the right"),
        Use("measures", "to_detail", "Scroll", "Go to the text, to scroll it", show=True),
        Use("steering", "other(1)", "Later on the right", "Comparing: later sample on the right"),
        Use("steering", "nudge(0.01)", "Stronger", "Raise alpha by 0.01"),
        Use("chat", "sample(1)", "Next sample", "Next sample"),
        Use("hypotheses", "to_evidence", "Evidence", "Go to the evidence"),
        Use("timeline", "unfold", "Unfold", "Show the events inside the operation"),
    )),
    Key("escape", "escape", (
        Use("readings", "lists", "Lists", "From the plot back to the lists"),
        Use("steering", "leave", "Leave field", "Leave the field or the comparison"),
        Use("chat", "leave", "Conversation", "From the field to the conversation", show=True),
        Use("timeline", "reset", "Show all", "Remove the filter and the search"),
        Use("sessions", "back", "Back", "Clear the search, or go to the start screen", show=True),
        Use("measures", "leave", "Close", "Back to the panes", show=True),
    )),
    # --- anywhere -----------------------------------------------------------------------------
    *(
        Key(f"pane_{place}", str(digit), (
            Use("audit", f"pane({digit - 1})", title),
            Use("replay", f"pane({digit - 1})", title),
        ))
        for digit, (place, title) in enumerate(_NUMBERED.items(), start=1)
    ),
    Key("jump", "ctrl+o", (
        Use("audit", "jump", "Jump", "Go to a pane, also from a field", show=True),
        Use("replay", "jump", "Jump", "Go to a pane, also from a field", show=True),
    )),
    Key("zoom", "z", (
        Use("audit", "zoom", "Zoom", "Show this pane alone, or all panes", show=True),
        Use("replay", "zoom", "Zoom", "Show this pane alone, or all panes", show=True),
    )),
    Key("stop", "x,f8", (
        Use("agent", "hand('stop')", "Stop agent", "Stop the agent; it can be resumed", show=True),
        Use("audit", "stop_job", "Stop", "Stop what is running", show=True),
        Use("loading", "stop", "Stop", "Load no pair and begin no session"),
        Use("measures", "stop", "Stop", "Stop what is running", show=True),
    )),
    Key("undo", "u", (
        Use("audit", "undo", "Undo", "Take back your last mark, link, verdict, revision or note"),
    )),
    Key("audit", "a", (
        Use("audit", "prepare", "Audit", "Measure the difference and read it", show=True),
    )),
    Key("token_texts", "at", (
        Use("readings", "token_texts", "Texts", "Show the texts that hold the token"),
    )),
    Key("two_lists", "vertical_line", (
        Use("readings", "two_lists", "Two lists", "Show this list beside another one"),
    )),
    Key("nothing", "underscore", (
        Use("readings", "nothing", "Nothing", "Note that you looked at this token and it is nothing"),
        Use("timeline", "nothing", "Nothing", "Note that you looked at this event and it is nothing"),
    )),
    Key("question_set", "ampersand", (
        Use("chat", "question_set", "Question set", "Send a saved set of questions, or save one"),
    )),
    Key("note", "ctrl+n", (
        Use("audit", "note", "Note", "Write a note into the session", show=True),
    )),
    Key("measures", "f6", (
        Use("audit", "measures", "Measures", "Measures of the trace: recorded ones, and new ones"),
        Use("measures", "leave", "Close", "Back to the panes"),
    )),
    Key("queue", "f7", (
        Use("audit", "queue", "Queue", "Running and waiting jobs: reorder them, remove them"),
    )),
    Key("keys", "ctrl+g", (
        Use("audit", "keys", "Keys",
            "Ask for the keys of a session that you watch; attach again if its engine is gone"),
    )),
    Key("report", "f9", (
        Use("audit", "app.read_report", "Report", "Read the session's report"),
        Use("sessions", "read_report", "Read report", "Read the session's report"),
    )),
    Key("reveal", "f10", (
        Use("audit", "app.reveal", "Reveal names",
            "Show the names that a blind session hides; that you saw them is recorded"),
    )),
    Key("rename", "f2", (
        Use("audit", "rename", "Rename", "Rename the session"),
        Use("sessions", "rename", "Rename", "Rename the session", show=True),
    )),
    Key("coverage", "ctrl+l", (
        Use("replay", "coverage", "Coverage", "Leads that were never followed up"),
        Use("sessions", "coverage", "Coverage", "Leads that were never followed up"),
    )),
    Key("sessions", "ctrl+r", (
        Use("audit", "sessions", "Sessions", "Close the session and go to the list of sessions"),
        Use("replay", "sessions", "Sessions", "Go to the list of sessions", show=True),
        Use("start", "sessions", "Sessions", "Go to the list of sessions", show=True),
    )),
    Key("help", "f1,question_mark", (
        Use("audit", "help", "Help", "Explain this pane and list its keys", show=True),
        Use("replay", "help", "Help", "Explain this pane and list its keys", show=True),
        Use("start", "help", "Help", "Explain this screen and list its keys", show=True),
        Use("sessions", "help", "Help", "Explain this screen and list its keys", show=True),
    )),
    # --- screens without panes ----------------------------------------------------------------
    Key("demo", "d", (
        Use("start", "demo", "Demo", "Open the demo pair", show=True),
    )),
    Key("database", "b", (
        Use("start", "database", "Database", "Record in another database", show=True),
    )),
    Key("replay", "p", (
        Use("sessions", "replay", "Replay", "Replay the session from its first event", show=True),
    )),
    Key("choose", "space", (
        Use("sessions", "choose_session", "Choose", "Choose it for a comparison, or not", show=True),
    )),
    Key("export", "E", (
        Use("sessions", "export", "Export", "Copy the session into a file", show=True),
    )),
    Key("refresh", "f5", (
        Use("sessions", "look", "Refresh", "Read the database again"),
    )),
    Key("close", "q", (
        Use("measures", "leave", "Close", "Back to the panes"),
    )),
)  # fmt: skip

BY_ID: Final = {key.id: key for key in TABLE}
