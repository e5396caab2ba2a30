"""The token lists of the activation difference, each beside its nulls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import ValidationError
from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from adl.nulls import NULLS
from adl.readings.registry import READINGS, described
from adl.records import DEFAULT_LAYER
from adl.words import number_of
from workbench.display import clean_line
from workbench.fields import in_words
from workbench.operations.difference import MEASURE
from workbench.operations.hypotheses import (
    MARK,
    UNMARK,
    UnmarkArguments,
)
from workbench.operations.jobs import Job
from workbench.operations.notes import NOTE, looked_at
from workbench.operations.readings import READ
from workbench.operations.running import Operation
from workbench.store.events import ReadToken
from workbench.store.state import SessionState
from workbench.tui import keys, text
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.dialogs.token_texts import TokenTexts
from workbench.tui.dialogs.two_lists import TwoLists
from workbench.tui.linking import link_anew
from workbench.tui.panes.readings import export as reading_text
from workbench.tui.panes.readings import render as reading_words
from workbench.tui.panes.readings.cells import Cells
from workbench.tui.panes.readings.columns import Column, Table, step
from workbench.tui.panes.readings.form import ReadForm, ReadRequest
from workbench.tui.panes.readings.head import ReadingsHead
from workbench.tui.panes.readings.index import Choice, Index, Taken
from workbench.tui.panes.readings.marks import Marks, mark_arguments
from workbench.tui.panes.readings.norms import Over, norms_over
from workbench.tui.panes.readings.plot import NormPlot
from workbench.tui.panes.readings.runs import runs_of
from workbench.tui.panes.readings.selection import Selection
from workbench.tui.widgets.clipped import Clipped
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.token_table import TokenTable

_PLOTS: tuple[Over | None, ...] = (None, "positions", "layers")
#: What acts on a token or its list, of which a plot shows none.
_OF_A_LIST = {"mark", "mark_for", "nothing", "token_texts", "two_lists", "copy"}
#: With fewer lines a narrow pane says less of the token under the cursor.
_LOW = 24


class ReadingsPane(Pane):
    """Tokens by rank and position, for one reading, side, source, layer and scale at a time."""

    TITLE: ClassVar[str] = "Readings"
    SHORT: ClassVar[str] = "Read"
    HELP: ClassVar[str] = f"""
The activation difference, read as lists of tokens. Rows are ranks, columns are positions of the
text: `1-4` is the mean over positions 1 to 4; look at it first.

**Readings**, the most informative on small models first. {described()}

**Bars** show the score as a share of the highest visible score, so columns can be compared. Scores
are changes of log-probability in nats, log-probabilities (patchscope, logit lens), or fused ranks
(consensus, where only the order is meaningful).

**Nulls** are the same reading with the finetuning taken out, on the base model alone: a *random*
direction of the same size, and the *split half*, the base model against itself on two halves of the
texts. A token that a null raises too is weak evidence. Nulls are read at the pooled position, and at
the chosen scale if at no other.

**Style** is struck: words that at least half of the other finetunings of the same base raise, too (their
spelling and register), are no part of a list. They are shown in their places, struck out, by the key
for all tokens; below the table stands why.

**Closeness** tells how narrow a list is: 1 is as close as words of one text, 0 as words of different
texts, with its 95% interval. A reading whose words are no closer than those of its nulls shows
nothing on this pair: it is folded away until the nulls are shown.

**Signs**: `●` marked as evidence in this list, `~` raised by a null too (in its top 20, at half the
score or more), `◉` both; `*` the scale chosen by the rule above the table. Scales are in units of
the residual norm.

Below the table: the exact token, with `·` for a space; its ranks in the nulls; and the number of
readings at this position that have it in their top 20, with its rank in each.

The **plot** shows the norms of the difference, of its split-half null and of its standard error.
A difference of a few standard errors, or smaller than its null, needs more texts.
"""
    DEFAULT_CSS = """
    ReadingsPane #token { height: 3; }
    ReadingsPane.-slim #token { height: 5; }
    ReadingsPane.-low #token { height: 2; }
    ReadingsPane.-short #nulls, ReadingsPane.-short #why { display: none; }
    ReadingsPane.-short #layers, ReadingsPane.-short #limits, ReadingsPane.-short #folded { display: none; }
    ReadingsPane.-short #token { height: 1; }
    ReadingsPane.-tiny #token, ReadingsPane.-tiny #site { display: none; }
    """
    LOOKS: ClassVar[frozenset[str]] = frozenset(
        {
            "reading",
            "side",
            "source",
            "layer",
            "scale",
            "chosen",
            "beside",
            "unfiltered",
            "plot",
            "lists",
            "copy",
            "write",
            "token_texts",
            "two_lists",
        }
    )
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("readings")

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._selection = Selection()
        self._cells: Cells | None = None
        self._marks = Marks(self.state)
        self._plot: Over | None = None
        self._job: Job | None = None
        self._problem = ""

    def compose(self) -> ComposeResult:
        """Compose the selection, the nulls, the lists or the plot, and the token."""
        yield ReadingsHead()
        yield TokenTable(self._cell)
        plot = NormPlot()
        plot.display = False
        yield plot
        yield Clipped(id="token")

    # --- drawing ----------------------------------------------------------------------------

    def show(self, state: SessionState, before: SessionState) -> None:
        """Take in new lists, differences and marks; anything else leaves the pane as it is."""
        marked = state.evidence is not before.evidence or state.hypotheses is not before.hypotheses
        if marked:
            self._marks = Marks(state)
        if state.readings is not before.readings or state.differences is not before.differences:
            self._selection.index = Index(state.readings, state.differences)
            self._redraw()
        elif marked or state.pair is not before.pair:
            self._redraw()

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        """Show the progress of measuring or reading."""
        ours = [job for job in jobs if job.operation in {MEASURE, READ}]
        job = next((job for job in ours if job.status == "running"), ours[0] if ours else None)
        if job is not self._job:
            self._job = job
            if self._selection.table is None:
                self._redraw()
            else:
                self.query_one(ReadingsHead).show_why(self._selection, job)

    def on_mount(self) -> None:
        """Draw the empty pane."""
        self._redraw()

    def on_resize(self, event: events.Resize) -> None:
        """Fit the texts to the width."""
        width, height = self.content_size
        slim = width < reading_words.ROOMY
        # The list comes before what is said of one of its tokens.
        self.update_classes({"-slim": slim, "-low": slim and height < _LOW})
        self._redraw()

    def _redraw(self) -> None:
        selection = self._selection
        selection.settle()
        table = selection.table
        self._cells = Cells(table, self._marks, selection.choice.unfiltered) if table else None
        head = self.query_one(ReadingsHead)
        head.show(
            selection,
            self.content_size.width,
            recorded=self.recorded,
            plotted=self._plot is not None,
        )
        head.show_why(selection, self._job)
        instead = reading_words.instead(
            selection.index, selection.group, self._job, self.state, recorded=self.recorded
        )
        self.query_one(TokenTable).set_table(
            table.rows if table else 0, len(table.columns) if table else 0, instead
        )
        self._show_token()
        self._show_plot()
        self.refresh_bindings()

    def _cell(self, row: int, at: int, width: int) -> Text:
        if self._cells is None or at >= len(self._cells.table.columns):
            return Text()
        if row < 0:
            return self._cells.head(at, width)
        return self._cells.cell(row, at, width, self.query_one(TokenTable).part_style)

    def _show_token(self) -> None:
        shown = self.query_one("#token", Static)
        shown.set_class(self._selection.table is None or self._plot is not None, "-gone")
        if self._problem:
            shown.update(text.block(self._problem, "$text-error"))
            return
        found = self._under_cursor()
        if found is None:
            shown.update(Content.styled("no token here", "$foreground-muted"))
            return
        table, column, row, token = found
        shown.update(
            reading_words.about(
                self._selection.index,
                table,
                column,
                row,
                token,
                self._marks.describe(column, token),
                self.content_size.width,
                unfiltered=self._selection.choice.unfiltered,
            )
        )

    def _show_plot(self) -> None:
        plot = self.query_one(NormPlot)
        table = self.query_one(TokenTable)
        held = plot.has_focus or table.has_focus
        plot.display = self._plot is not None
        table.display = self._plot is None
        if self._plot is not None:
            group, index = self._selection.group, self._selection.index
            norms = (
                None
                if group is None
                else norms_over(index, group.layer, self._plot, self.read_array)
            )
            plot.draw(
                norms,
                f"Norms: not computed. Press {keys.shown('measure')} to measure the difference.",
            )
        shown = table if self._plot is None else plot
        if held and not shown.has_focus:
            # Only then: the focus is given a moment later, and may be on its way elsewhere.
            shown.focus()

    # --- marks ------------------------------------------------------------------------------

    def _under_cursor(self) -> tuple[Table, Column, int, ReadToken] | None:
        """The token that the keys act on; none while a plot is shown."""
        if self._plot is not None:
            return None
        table, cursor = self._selection.table, self.query_one(TokenTable)
        token = None if table is None else table.token(cursor.row, cursor.column)
        if table is None or token is None:
            return None
        return table, table.columns[cursor.column], cursor.row, token

    def action_mark(self) -> None:
        """Mark the token, or take its mark back."""
        found = self._under_cursor()
        if found is None:
            return
        table, column, row, token = found
        marks = self._marks.of(column, token)
        if marks:
            self._take_back(marks[-1])
        else:
            self._ask(MARK, lambda: mark_arguments(table, column, row))
            self._warn_of_null(column)

    def _take_back(self, evidence: str) -> None:
        """Remove a mark; ask first if it is linked to a hypothesis."""
        linked = self._marks.linked(evidence)

        def take_back(agreed: bool | None) -> None:
            if agreed:
                self._ask(UNMARK, lambda: UnmarkArguments(evidence=evidence))
                undo = keys.shown("undo")
                self.notify(f"{clean_line(evidence)} removed. {undo} undoes it.", markup=False)

        if not linked:
            take_back(True)
            return
        question = Content(clean_line(f"{evidence} bears on {', '.join(linked)}."))
        self.app.push_screen(Confirm(question, "Take the mark back", "Keep it"), take_back)

    def _warn_of_null(self, column: Column) -> None:
        if column.source in NULLS:
            name = column.source.replace("_", " ")
            self.notify(
                f"This token is of a null ({name}), a vector without finetuning.",
                title="Marked",
                severity="warning",
                markup=False,
            )

    def action_mark_for(self) -> None:
        """Mark the token for the top ranked hypothesis; without one, just mark it."""
        found = self._under_cursor()
        if found is None:
            return
        table, column, row, token = found
        ranked = self.state.ranked()
        top = ranked[0].id if ranked else None
        marks = self._marks.of(column, token)
        if not marks:
            self._ask(MARK, lambda: mark_arguments(table, column, row, top))
            self._warn_of_null(column)
        elif top is not None:
            link_anew(self, ranked[0], marks[-1], "for")
            self._warn_of_null(column)

    def action_nothing(self) -> None:
        """Record that the token was reviewed and found irrelevant."""
        found = self._under_cursor()
        if found is None:
            return
        table, column, row, _ = found
        mark = mark_arguments(table, column, row)
        self.submit(NOTE, looked_at(mark.seq, mark.label, mark.excerpt))
        self.notify("Noted: looked at, nothing.")

    def action_token_texts(self) -> None:
        """Show the texts that hold the token, and go to the one that is chosen."""
        found = self._under_cursor()
        if found is None:
            return

        def chosen(seq: int | None) -> None:
            if seq is not None:
                self.post_message(self.Jump(seq))

        self.app.push_screen(TokenTexts(self.state, found[3].text), chosen)

    def action_two_lists(self) -> None:
        """Show the list under the cursor beside any other that was chosen."""
        found = self._under_cursor()
        first = None if found is None else found[1].taken
        if first is None:
            return
        others = [
            taken
            for taken in self.state.readings.values()
            if taken.body.chosen and taken.seq != first.seq
        ]
        # Those of the difference first: nulls are beside the list already.
        others.sort(key=lambda taken: (taken.body.source != "difference", taken.seq))
        self.app.push_screen(
            TwoLists(reading_words.as_column(first), list(map(reading_words.as_column, others)))
        )

    def _ask(self, operation: Operation[Any], make: Any) -> None:
        """Submit an operation, or show in the pane why it is refused."""
        try:
            arguments = make()
        except ValidationError as exc:
            self._problem = in_words(exc)
            self._show_token()
        else:
            self.submit(operation, arguments)

    # --- keys that choose -------------------------------------------------------------------

    def _choose(self, choice: Choice) -> None:
        self._selection.choice = choice
        self._problem = ""
        self._redraw()

    def on_cursor_list_moved(self, event: TokenTable.Moved) -> None:
        """Describe the token under the cursor."""
        event.stop()
        self._problem = ""
        self._show_token()

    def action_reading(self, by: int) -> None:
        """Show the next reading, whether it was taken or not."""
        self._choose(self._selection.other_reading(by))

    def action_side(self) -> None:
        """Show the other side, where the reading was taken on both."""
        self._choose(self._selection.other_side())

    def action_source(self, by: int) -> None:
        """Show the reading of another vector."""
        self._choose(self._selection.other_source(by))

    def action_layer(self, by: int) -> None:
        """Show another layer."""
        self._choose(self._selection.other_layer(by))

    def action_scale(self, by: int) -> None:
        """Show the next scale."""
        self._choose(self._selection.other_scale(by))

    def action_chosen(self) -> None:
        """Show every column at its chosen scale."""
        self._choose(self._selection.chosen_scale())

    def action_beside(self) -> None:
        """Set the nulls beside the list, or take them away."""
        self._choose(self._selection.with_or_without_nulls())

    def action_unfiltered(self) -> None:
        """Show whole words, those with the words of style that were struck, then all tokens."""
        self._choose(self._selection.other_filter())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what acts on a list where one is shown."""
        if self._plot is not None and action in _OF_A_LIST:
            return False
        return self.offers(action)

    def action_plot(self) -> None:
        """Plot the norms over positions, then over layers, then show the lists again."""
        places = _PLOTS if len(self._selection.index.layers()) > 1 else _PLOTS[:2]
        self._plot = step(places, self._plot, 1)
        self._redraw()

    def action_lists(self) -> None:
        """Show the lists."""
        if self._plot is not None:
            self._plot = None
            self._redraw()

    # --- reading ----------------------------------------------------------------------------

    @work
    async def action_read(self) -> None:
        """Ask for a layer, then measure if need be, and read."""
        if self.state.pair is None:
            self.notify("There is no pair to read: load one first.", severity="warning")
            return
        group = self._selection.group
        request = await self.app.push_screen_wait(
            ReadForm(
                self._selection.index,
                str(group.layer) if group else DEFAULT_LAYER,
                group.reading if group else next(iter(READINGS)),
                int(self.state.pair["n_layers"]),
            )
        )
        if request is not None:
            self._read(request)

    def _read(self, request: ReadRequest) -> None:
        selection = self._selection
        index, earlier = selection.index, self.state.operations.values()
        is_measured = index.measured(request.layer) is not None
        for operation, arguments in runs_of(request, earlier, is_measured=is_measured):
            self.submit(operation, arguments)
        choice = replace(selection.choice, layer=request.layer)
        if index.readings(request.layer) or is_measured:
            self._choose(choice)
        else:
            # It is not there to be shown yet; what comes next will be it.
            selection.choice = choice

    # --- taking lists out -------------------------------------------------------------------

    def action_copy(self) -> None:
        """Copy the list under the cursor."""
        column, table = self.query_one(TokenTable).column, self._selection.table
        if table is not None and table.columns[column].tokens:
            shown = table.columns[column]
            self.app.copy_to_clipboard(reading_text.list_text(table.group, shown))
            self.notify(f"Copied {number_of(len(shown.tokens), 'token')}.")

    @work
    async def action_write(self) -> None:
        """Write the table to a file, asking again until it can be written."""
        table = self._selection.table
        if table is None:
            return
        content = reading_text.table_text(table, self._marks.of)
        group = table.group
        title, path, refused = "Write the table (TSV) to", f"{group.reading}-{group.layer}.tsv", ""
        while True:
            answer = await self.app.push_screen_wait(AskLine(clean_line(title), path))
            if answer is None:
                return
            path = answer
            try:
                target = reading_text.write(path, content, replace=path == refused)
            except FileExistsError:
                refused = path
                title = f"{path} exists already: press Enter again to replace it"
            except OSError as exc:
                title = f"{path} cannot be written: {exc.strerror or exc}"
            else:
                self.notify(clean_line(f"Wrote {target}"), markup=False)
                return

    # --- other moments, leaving and coming back ---------------------------------------------

    def start_over(self) -> None:
        """Choose as at first: the first reading, its first cell, no plot."""
        self._selection.start_over()
        self._plot = None
        super().start_over()
        self.query_one(TokenTable).move_to(0, 0)

    def reveal(self, seq: int) -> bool:
        """Show the list or the norms that an event recorded."""
        taken = self._selection.index.by_seq(seq)
        if taken is not None:
            self._reveal_list(taken)
            return True
        for measured in self.state.differences.values():
            if measured.seq == seq:
                layers = measured.body.layers
                self._plot = "layers" if len(layers) > 1 else "positions"
                if self._selection.choice.layer not in layers:
                    self._selection.choice = replace(self._selection.choice, layer=layers[0])
                self._redraw()
                return True
        return False

    def _reveal_list(self, taken: Taken) -> None:
        self._plot = None
        self._choose(self._selection.of_list(taken))
        assert self._selection.table is not None
        columns = self._selection.table.columns
        column = next((at for at, listed in enumerate(columns) if listed.taken is taken), 0)
        tokens = columns[column].tokens
        marked = (row for row, token in enumerate(tokens) if self._marks.of(columns[column], token))
        self.query_one(TokenTable).move_to(next(marked, 0), column)

    def focus_pane(self) -> None:
        """Put the focus on the lists, or on the plot while it is in their place."""
        self.query_one(TokenTable if self._plot is None else NormPlot).focus()

    def view(self) -> dict[str, Any]:
        """All choices, the plot and the cursor."""
        cursor = self.query_one(TokenTable)
        return {
            "choice": self._selection.choice.as_data(),
            "plot": self._plot,
            "cursor": [cursor.row, cursor.column],
        }

    def restore(self, view: dict[str, Any]) -> None:
        """Restore the choices, the plot and the cursor."""
        choice, plot, cursor = view.get("choice"), view.get("plot"), view.get("cursor")
        if isinstance(choice, dict):
            self._selection.choice = Choice.from_data(choice)
        self._plot = plot if plot in _PLOTS else None
        self._redraw()
        if isinstance(cursor, list) and len(cursor) == 2 and all(type(at) is int for at in cursor):
            self.query_one(TokenTable).move_to(cursor[0], cursor[1])
