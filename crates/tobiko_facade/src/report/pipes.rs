//! Reports to Dagster through Dagster Pipes. What belongs to one task is sent together, and closed by a message of its own.

use std::borrow::Cow;
use std::collections::HashMap;
use std::env;
use std::io::Read;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dagster_pipes_rust::{
    AssetCheckSeverity, DAGSTER_PIPES_CONTEXT_ENV_VAR, DAGSTER_PIPES_MESSAGES_ENV_VAR, DefaultWriter, PipesContext,
    PipesMetadataValue, open_dagster_pipes,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Reporter;
use super::truncate::{
    LONGEST_LOG_TEXT, LONGEST_METADATA, LONGEST_QUERY, LONGEST_REASON, LONGEST_WARNING, MOST_WARNINGS,
    longest_reason_beside, short_link, truncate_middle_json,
};
use crate::exit_code::{ChannelBroken, Usage};
use crate::report::events::epoch;
use crate::report::events::{CheckResult, Event, Level, Materialization, PastRun, Severity, Task};

pub struct Pipes {
    context: PipesContext<DefaultWriter>,
    /// How many messages were sent, `opened` aside: the last one says so, and a reader with fewer knows that some are missing.
    sent: u64,
}

type Metadata = HashMap<&'static str, PipesMetadataValue>;

impl Pipes {
    /// `None` where Dagster did not launch this process. Opens the channel and says so.
    pub fn from_environment() -> Result<Option<Self>> {
        let Some(parameters) = env::var_os(DAGSTER_PIPES_MESSAGES_ENV_VAR) else { return Ok(None) };
        // The crate panics on a channel that it does not know, hence this check.
        check_writer(&parameters.to_string_lossy())?;
        if env::var_os(DAGSTER_PIPES_CONTEXT_ENV_VAR).is_none() {
            return Err(Usage::new(format!("{DAGSTER_PIPES_CONTEXT_ENV_VAR} is missing beside {DAGSTER_PIPES_MESSAGES_ENV_VAR}: was this launched by Dagster Pipes")).into());
        }
        let context = open_dagster_pipes().context("cannot open the channel to Dagster")?;
        Ok(Some(Self { context, sent: 0 }))
    }

    pub fn job_nodes(&self) -> Vec<String> {
        let extras = self.context.data.extras.as_ref();
        let nodes =
            extras.and_then(|extras| extras.get("nodes")).and_then(|nodes| nodes.as_ref()).and_then(Value::as_array);
        nodes.into_iter().flatten().filter_map(|node| node.as_str().map(str::to_owned)).collect()
    }

    fn task(&mut self, task: &Task) -> Result<()> {
        if let Some(materialization) = &task.materialization {
            let key = wire_key(&materialization.key);
            self.sent += 1;
            self.context.report_asset_materialization(&key, materialized(materialization), None)?;
        }
        for check in &task.checks {
            let severity = match check.severity {
                Severity::Error => AssetCheckSeverity::Error,
                Severity::Warn => AssetCheckSeverity::Warn,
            };
            let key = wire_key(&check.key);
            self.sent += 1;
            self.context.report_asset_check(&check.name, check.passed, &key, &severity, checked(check))?;
        }
        self.custom(json!({
            "tobiko": "task",
            "node": task.node,
            "outcome": task.outcome.as_str(),
            "reason": reason(task.reason.as_deref(), longest_reason_beside(&task.node)),
            "link": short_link(task.link.as_deref()),
            "log_link": short_link(task.log_link.as_deref()),
            "warnings": warnings(&task.warnings),
            "late": task.late,
            "at": task.end_at.or(task.start_at).map(epoch),
            "materialized": task.materialization.is_some(),
            "checks": task.checks.len(),
        }))
    }

    /// Its tasks first, each in a message of its own; that of the run says how many they were.
    fn past_run(&mut self, run: &PastRun) -> Result<()> {
        for task in &run.tasks {
            self.custom(json!({
                "tobiko": "past_task",
                "node": task.node,
                "outcome": task.outcome.as_str(),
                "reason": reason(task.reason.as_deref(), longest_reason_beside(&task.node)),
                "link": short_link(task.link.as_deref()),
                "log_link": short_link(task.log_link.as_deref()),
                "start_at": epoch(task.start_at),
                "end_at": epoch(task.end_at),
            }))?;
        }
        self.custom(json!({
            "tobiko": "past_run",
            "run_id": run.run_id,
            "outcome": run.outcome.as_str(),
            "reason": reason(run.reason.as_deref(), longest_reason_beside(&run.run_id)),
            "link": short_link(run.link.as_deref()),
            "start_at": epoch(run.start_at),
            "end_at": epoch(run.end_at),
            "tasks": run.tasks.len(),
        }))
    }

    fn custom(&mut self, payload: Value) -> Result<()> {
        self.sent += 1;
        self.context.report_custom_message(payload)?;
        Ok(())
    }
}

impl Reporter for Pipes {
    fn report(&mut self, event: &Event) -> Result<()> {
        let sent = match event {
            Event::Run(run) => self.custom(json!({
                "tobiko": "run",
                "run_id": run.run_id,
                "environment": run.environment,
                "status": run.status,
                "link": short_link(run.link.as_deref()),
                "start_at": run.start_at.map(epoch),
            })),
            // Its result follows, and says it, too.
            Event::TaskStarted { ended: true, .. } => return Ok(()),
            Event::TaskStarted { node, link, at, .. } => self.custom(json!({
                "tobiko": "task_started",
                "node": node,
                "link": link,
                "at": at.map(epoch),
            })),
            Event::Task(task) => self.task(task),
            Event::PastRun(run) => self.past_run(run),
            Event::Log(level, text) => {
                let text = truncate_middle_json(text, LONGEST_LOG_TEXT);
                self.sent += 1;
                let logger = &mut self.context.logger;
                let written = match level {
                    Level::Info => logger.info(&text),
                    Level::Warning => logger.warning(&text),
                };
                written.map_err(anyhow::Error::from)
            }
            Event::RunFinished(finished) => self.custom(json!({
                "tobiko": "done",
                "outcome": finished.outcome.as_str(),
                "run_id": finished.run_id,
                "reason": reason(finished.reason.as_deref(), LONGEST_REASON),
                "link": short_link(finished.link.as_deref()),
                "tasks": finished.tasks,
                "requests": finished.requests,
                "messages": self.sent,
            })),
        };
        sent.context(ChannelBroken)
    }
}

/// Refuses a channel that `dagster_pipes_rust` has no writer for.
fn check_writer(parameters: &str) -> Result<()> {
    let unreadable =
        || Usage::new(format!("{DAGSTER_PIPES_MESSAGES_ENV_VAR} cannot be read: was this launched by Dagster Pipes"));
    let packed = STANDARD.decode(parameters.trim()).map_err(|_| unreadable())?;
    let mut text = String::new();
    flate2::read::ZlibDecoder::new(packed.as_slice()).read_to_string(&mut text).map_err(|_| unreadable())?;
    let parameters: HashMap<String, Value> = serde_json::from_str(&text).map_err(|_| unreadable())?;
    let stream = |name: &str| parameters.get(name).and_then(Value::as_str).map(str::to_lowercase);
    let is_file = parameters.get("path").is_some_and(Value::is_string);
    let is_stream = |name| stream(name).is_some_and(|stream| stream == "stdout" || stream == "stderr");
    if is_file || is_stream("stdio") || (is_stream("buffered_stdio") && stream("stdio").is_none()) {
        return Ok(());
    }
    let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
    Err(Usage::new(format!(
        "this Pipes message reader is not supported (its parameters: {}): use one that reads a file or the process's output",
        names.join(", ")
    ))
    .into())
}

/// The key's parts joined with slashes, or, where that could be read in another way, as a JSON list.
fn wire_key(key: &[String]) -> String {
    let joined = key.join("/");
    let is_ambiguous = key.iter().any(|part| part.contains(['/', '\\'])) || joined.starts_with('[');
    if is_ambiguous { json!(key).to_string() } else { joined }
}

fn materialized(materialization: &Materialization) -> Metadata {
    let mut metadata = Metadata::new();
    let evaluation = &materialization.evaluation;
    text(&mut metadata, "Tobiko Cloud Run Id", evaluation.run_id.as_deref());
    text(&mut metadata, "Tobiko Cloud Execution Id", Some(&evaluation.evaluation_id));
    url(&mut metadata, "Log Link", evaluation.log_link.as_deref());
    url(&mut metadata, "Debugger", evaluation.link.as_deref());
    time(&mut metadata, "Materialization Timestamp", materialization.at());
    text(&mut metadata, "Execution Status", Some(&evaluation.status.to_string()));
    let numbers = materialization.numbers;
    count(&mut metadata, "Batches", materialization.batches.and_then(|batches| batches.try_into().ok()));
    seconds(&mut metadata, "Duration (s)", numbers.duration_s);
    time(&mut metadata, "Interval Start Timestamp", numbers.interval.map(|(start, _)| start));
    time(&mut metadata, "Interval End Timestamp", numbers.interval.map(|(_, end)| end));
    count(&mut metadata, "Rows Processed", numbers.rows);
    metadata
}

fn checked(check: &CheckResult) -> Metadata {
    let mut metadata = Metadata::new();
    text(&mut metadata, "Tobiko Cloud Evaluation Id", Some(&check.evaluation_id));
    url(&mut metadata, "Log Link", check.log_link.as_deref());
    url(&mut metadata, "Debugger", check.link.as_deref());
    time(&mut metadata, "Execution Timestamp", check.executed_at);
    time(&mut metadata, "Interval Start Timestamp", check.interval_start);
    time(&mut metadata, "Interval End Timestamp", check.interval_end);
    seconds(&mut metadata, "Duration (s)", check.duration_s);
    count(&mut metadata, "Failing Rows", check.failing_rows);
    text(&mut metadata, "Arguments", check.arguments.as_deref());
    if let Some(blocking) = check.blocking {
        metadata.insert("Blocking", PipesMetadataValue::from(blocking));
    }
    text_within(&mut metadata, "Query", check.query.as_deref(), LONGEST_QUERY);
    metadata
}

fn reason(reason: Option<&str>, longest: usize) -> Option<Cow<'_, str>> {
    reason.map(|reason| truncate_middle_json(reason, longest))
}

fn warnings(warnings: &[String]) -> Vec<Cow<'_, str>> {
    warnings.iter().take(MOST_WARNINGS).map(|warning| truncate_middle_json(warning, LONGEST_WARNING)).collect()
}

fn text(metadata: &mut Metadata, name: &'static str, value: Option<&str>) {
    text_within(metadata, name, value, LONGEST_METADATA);
}

fn text_within(metadata: &mut Metadata, name: &'static str, value: Option<&str>, budget: usize) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        metadata.insert(name, PipesMetadataValue::from(truncate_middle_json(value, budget).into_owned()));
    }
}

/// A count that is too large to be one is left out.
fn count(metadata: &mut Metadata, name: &'static str, value: Option<u64>) {
    if let Some(value) = value.and_then(|value| i64::try_from(value).ok()) {
        metadata.insert(name, PipesMetadataValue::from(value));
    }
}

/// Always a float, as Dagster draws one line for one type.
fn seconds(metadata: &mut Metadata, name: &'static str, value: Option<f64>) {
    if let Some(value) = value {
        metadata.insert(name, PipesMetadataValue::from(value));
    }
}

fn url(metadata: &mut Metadata, name: &'static str, value: Option<&str>) {
    if let Some(value) = short_link(value) {
        metadata.insert(name, PipesMetadataValue::from_url(value.to_owned()));
    }
}

/// Unix seconds as a float: the oldest Dagster's reader knows no type for points in time.
fn time(metadata: &mut Metadata, name: &'static str, value: Option<Timestamp>) {
    if let Some(value) = value {
        metadata.insert(name, PipesMetadataValue::from(epoch(value)));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use tobiko_api::Evaluation;

    use super::*;
    use crate::report::events::{LoadNumbers, Outcome};

    fn packed(parameters: &Value) -> String {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(parameters.to_string().as_bytes()).unwrap();
        STANDARD.encode(encoder.finish().unwrap())
    }

    #[test]
    fn only_channels_that_can_be_written_are_taken() {
        let check = |parameters: Value| check_writer(&packed(&parameters)).is_ok();
        assert!(check(json!({"path": "messages"})));
        assert!(check(json!({"stdio": "stderr"})));
        assert!(check(json!({"buffered_stdio": "stdout"})));
        assert!(!check(json!({"bucket": "b", "key_prefix": "k"})));
        assert!(!check(json!({"stdio": "elsewhere"})));
        assert!(check_writer("not base64!").is_err());
    }

    #[test]
    fn keys_that_could_be_misread_go_as_a_list() {
        let key = |parts: &[&str]| wire_key(&parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>());
        assert_eq!(key(&["wh", "shop", "orders"]), "wh/shop/orders");
        assert_eq!(key(&["a/b", "c"]), r#"["a/b","c"]"#);
        assert_eq!(key(&["a\\", "c"]), r#"["a\\","c"]"#);
        assert_eq!(key(&["[dbo]", "t"]), r#"["[dbo]","t"]"#);
    }

    fn some_text() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => "[a-z/]{0,20}",
            1 => ("[ä🍣\"\\\\\u{1}x\n]{1,3}", 1_usize..9_000).prop_map(|(text, times)| text.repeat(times)),
        ]
    }

    fn task() -> impl Strategy<Value = Task> {
        let texts = prop::array::uniform6(some_text());
        let parts = prop::collection::vec("[a-z🍣\"\\\\]{1,100}", 1..5);
        (texts, parts, prop::collection::vec(some_text(), 0..9), any::<bool>()).prop_map(
            |(texts, key, many, passed)| {
                let [reason, link, log_link, evaluation_id, run_id, status] = texts;
                let (link, log_link) = (Some(link), Some(log_link));
                let check = CheckResult {
                    key: key.clone().into(),
                    name: "not_null".into(),
                    passed,
                    severity: Severity::Error,
                    evaluation_id: evaluation_id.clone(),
                    link: link.clone(),
                    log_link: log_link.clone(),
                    executed_at: Some(Timestamp::UNIX_EPOCH),
                    interval_start: Some(Timestamp::UNIX_EPOCH),
                    interval_end: Some(Timestamp::UNIX_EPOCH),
                    duration_s: Some(f64::MAX),
                    failing_rows: Some(u64::MAX),
                    blocking: Some(passed),
                    arguments: link.clone(),
                    query: log_link.clone(),
                };
                let evaluation = Evaluation {
                    run_id: Some(run_id),
                    evaluation_id,
                    status: status.into(),
                    end_at: Some(Timestamp::UNIX_EPOCH),
                    link: link.clone(),
                    log_link: log_link.clone(),
                    ..Evaluation::default()
                };
                let materialization = Materialization {
                    key: key.clone().into(),
                    evaluation: evaluation.into(),
                    batches: Some(2),
                    numbers: LoadNumbers {
                        duration_s: Some(f64::MAX),
                        interval: Some((Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH)),
                        rows: Some(u64::MAX),
                    },
                };
                Task {
                    node: key.join("."),
                    model_name: key.join("."),
                    key: Some(key.into()),
                    outcome: Outcome::Success,
                    reason: Some(reason),
                    link,
                    log_link,
                    warnings: many.clone(),
                    evaluation_ids: many,
                    late: false,
                    start_at: None,
                    end_at: None,
                    materialization: Some(materialization),
                    checks: vec![check],
                }
            },
        )
    }

    /// The lines that a channel has on which `event` was reported.
    fn lines_of(event: &Event) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let Value::Object(parameters) = json!({"path": file.path()}) else { unreachable!() };
        let context = PipesContext::new(Default::default(), parameters, &DefaultWriter::new()).unwrap();
        Pipes { context, sent: 0 }.report(event).unwrap();
        std::fs::read_to_string(file.path()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_long_name_leaves_less_room_for_the_reason() {
        let long = |text: &str, length: usize| text.repeat(length);
        for length in [10, 3 * 1024, 3 * 1024 + 1, 8 * 1024, 11 * 1024] {
            let task = Task {
                node: long("n", length),
                model_name: String::new(),
                key: None,
                outcome: Outcome::Failure,
                reason: Some(long("r", 100_000)),
                link: Some(long("l", 1000)),
                log_link: Some(long("l", 1000)),
                warnings: vec![long("w", 9_000); 3],
                evaluation_ids: Vec::new(),
                late: false,
                start_at: None,
                end_at: None,
                materialization: None,
                checks: Vec::new(),
            };
            let lines = lines_of(&Event::Task(Box::new(task)));
            let line = lines.iter().find(|line| line.contains("\"tobiko\"")).unwrap();
            assert!(line.len() < 15 * 1024, "a name of {length} bytes: a line of {}", line.len());
            assert!(line.contains(&long("n", length)) && line.contains("characters left out"), "{line}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_reported_no_line_is_longer_than_15_kib(task in task(), note in some_text()) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let Value::Object(parameters) = json!({"path": file.path()}) else { unreachable!() };
            let context = PipesContext::new(Default::default(), parameters, &DefaultWriter::new()).unwrap();
            let mut pipes = Pipes { context, sent: 0 };
            let node = task.node.clone();
            pipes.report(&Event::Task(Box::new(task))).unwrap();
            pipes.report(&Event::Log(Level::Info, note)).unwrap();
            drop(pipes);
            let text = std::fs::read_to_string(file.path()).unwrap();
            let messages: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            prop_assert_eq!(messages.len(), 6);
            prop_assert!(text.lines().all(|line| line.len() < 15 * 1024));
            prop_assert_eq!(messages[3]["params"]["payload"]["node"].as_str(), Some(node.as_str()));
        }
    }
}
