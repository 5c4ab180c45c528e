"""A run on a terminal: a bar per running step, the table at the end (the only importer of rich)."""

from __future__ import annotations

from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as EtaColumn
from rich.text import Text

from forge_pipeline.events import Event, Note, RunEnded, RunStarted, StepAdvanced, StepFinished
from forge_pipeline.report.closing import end_lines


class ConsoleReport:
    """Shows bars while steps run, and the table at the end.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        # File names are text, never markup, emoji or something to colour.
        self._console = Console(file=stream, markup=False, emoji=False, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            _RateColumn(),
            EtaColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=5,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def announce(self, event: Event) -> None:
        """Move a bar, print a note, or close with the table."""
        match event:
            case RunStarted():
                return
            case StepAdvanced():
                self._advance(event)
            case StepFinished():
                self._finish(event.step)
            case Note():
                self._console.print(event.text, soft_wrap=True)
            case RunEnded():
                self._progress.stop()
                for line in end_lines(event.result):
                    self._console.print(line, soft_wrap=True)

    @property
    def bars(self) -> list[Task]:
        """Return the bars that are shown, in order."""
        return self._progress.tasks

    def _advance(self, event: StepAdvanced) -> None:
        task = self._tasks.get(event.step)
        if task is None:
            task = self._tasks[event.step] = self._progress.add_task(event.step, total=None)
        self._progress.update(task, completed=event.counts.entered, total=event.expected)

    def _finish(self, step: str) -> None:
        task = self._tasks.pop(step, None)
        if task is not None:
            self._progress.remove_task(task)


class _RateColumn(ProgressColumn):
    """Samples a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "", style="progress.data.speed")
