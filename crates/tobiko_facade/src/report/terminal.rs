//! Reports to the person at the terminal: a line for each task, a progress bar below them, a summary at the end.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::Reporter;
use crate::report::events::Outcome;
use crate::report::events::{Event, FinishedAs, Level, PastRun, RunFinished, Task};
use crate::report::truncate::first_line;

/// After more tasks than this, failures have scrolled away: they are repeated at the end.
const LONG_RUN: usize = 20;

pub struct Terminal {
    bar: ProgressBar,
    color: bool,
    quiet: bool,
    counts: BTreeMap<&'static str, usize>,
    /// How many tasks were printed.
    tasks: usize,
    /// The lines of failed tasks, to be repeated at the end of a long run.
    failures: Vec<String>,
}

impl Terminal {
    /// `quiet`: nothing is printed.
    pub fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { bar, color, quiet, counts: BTreeMap::new(), tasks: 0, failures: Vec::new() }
    }

    /// Writes a line to stdout, above the bar. A closed stdout is a normal end.
    fn line(&self, text: &str) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        self.bar.suspend(|| {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{text}").and_then(|()| out.flush())
        })?;
        Ok(())
    }

    fn painted(&self, text: &str, color: &str) -> String {
        if self.color { format!("\u{1b}[{color}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn task(&mut self, task: &Task) -> Result<()> {
        let (sign, color, word) = match task.outcome {
            Outcome::Success => ("✓", "32", "succeeded"),
            Outcome::Failure => ("✗", "31", "failed"),
            Outcome::NothingDue => ("·", "2", "nothing due"),
            Outcome::Skipped => ("-", "33", "skipped"),
        };
        *self.counts.entry(word).or_default() += 1;
        self.bar.inc(1);
        let mut line = format!("{} {}", self.painted(sign, color), task.model_name);
        let took = task.start_at.zip(task.end_at).map(|(start, end)| end.duration_since(start).as_secs_f64());
        let failed = task.checks.iter().filter(|check| !check.passed).count();
        let details = [
            (task.outcome != Outcome::Success).then(|| word.to_owned()),
            took.map(|seconds| format!("{seconds:.1} s")),
            task.materialization
                .as_ref()
                .and_then(|materialization| materialization.batches)
                .filter(|batches| *batches > 1)
                .map(|batches| format!("{batches} batches")),
            (!task.checks.is_empty()).then(|| match failed {
                0 => format!("{} passed", checks(task.checks.len())),
                failed => format!("{failed} of {} failed", checks(task.checks.len())),
            }),
        ];
        let details: Vec<String> = details.into_iter().flatten().collect();
        if !details.is_empty() {
            line += &self.painted(&format!("  {}", details.join(", ")), "2");
        }
        let mut lines = vec![line];
        if let (Outcome::Failure | Outcome::Skipped, Some(reason)) = (task.outcome, &task.reason) {
            lines.push(format!("    {}", first_line(reason)));
            lines.extend(task.link.as_ref().map(|link| format!("    {link}")));
        }
        lines.extend(task.warnings.iter().map(|warning| format!("    {}", self.painted(warning, "33"))));
        self.tasks += 1;
        for line in &lines {
            self.line(line)?;
        }
        if task.outcome == Outcome::Failure {
            self.failures.append(&mut lines);
        }
        Ok(())
    }

    fn past_run(&self, run: &PastRun) -> Result<()> {
        let (word, color) = match run.outcome {
            FinishedAs::Success => ("succeeded", "32"),
            FinishedAs::Failure | FinishedAs::GaveUp => ("failed", "31"),
        };
        let tasks = run.tasks.len();
        let evaluated = if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") };
        self.line(&format!("run {} of {}: {}, {evaluated}", run.run_id, run.start_at, self.painted(word, color)))
    }

    fn finished(&mut self, finished: &RunFinished) -> Result<()> {
        self.bar.finish_and_clear();
        if self.tasks > LONG_RUN && !self.failures.is_empty() {
            self.line("failures, once more:")?;
            for line in &self.failures {
                self.line(line)?;
            }
        }
        let counts: Vec<String> = self.counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        let counts = if counts.is_empty() { "no task".to_owned() } else { counts.join(", ") };
        let (word, color) = match finished.outcome {
            FinishedAs::Success => ("done", "32"),
            FinishedAs::Failure => ("failed", "31"),
            FinishedAs::GaveUp => ("gave up", "31"),
        };
        self.line(&format!("{}: {counts}", self.painted(word, color)))?;
        if let (FinishedAs::Failure, Some(reason)) = (finished.outcome, &finished.reason) {
            self.line(&format!("    {}", first_line(reason)))?;
        }
        match &finished.link {
            Some(link) => self.line(&format!("    {link}")),
            None => Ok(()),
        }
    }
}

fn checks(count: usize) -> String {
    if count == 1 { "1 check".to_owned() } else { format!("{count} checks") }
}

impl Reporter for Terminal {
    fn report(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Run(run) => {
                self.line(&format!("run {} of {}: {}", run.run_id, run.environment, run.status))?;
                if let Some(link) = &run.link {
                    self.line(&format!("    {link}"))?;
                }
                self.bar.set_length(run.tasks as u64);
                if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len}  {msg}") {
                    self.bar.set_style(style);
                }
                self.bar.enable_steady_tick(Duration::from_millis(200));
                Ok(())
            }
            Event::TaskStarted { model_name, .. } => {
                self.bar.set_message(model_name.clone());
                Ok(())
            }
            Event::Task(task) => self.task(task),
            Event::PastRun(run) => self.past_run(run),
            Event::Log(Level::Info, text) => self.line(text),
            Event::Log(Level::Warning, text) => self.line(&self.painted(&format!("warning: {text}"), "33")),
            Event::RunFinished(finished) => self.finished(finished),
        }
    }
}
